//! What is said on stderr beside the text: how windows were decoded, what was wrong with a file.

use std::path::Path;

use super::terminal::one_line;
use crate::dims::FRAMES_PER_SECOND;
use crate::output::format_timestamp;
use crate::transcript::{Attempt, DropReason, Dropped, WindowTrace};

/// One line for a window: of which file where there are several, its stretch, every temperature that
/// was tried, and how long it took.
pub fn traced(of: Option<&Path>, window: &WindowTrace) -> String {
    let time =
        |frames: usize| format_timestamp(frames as f64 / FRAMES_PER_SECOND as f64, false, '.');
    let (start, end) = (time(window.seek), time(window.seek + window.frames));
    let attempts: Vec<String> = window.attempts.iter().map(tried).collect();
    let silent = if window.silent {
        "; silent, skipped"
    } else {
        ""
    };
    let of = of.map_or_else(String::new, |file| {
        format!("{}: ", one_line(&file.to_string_lossy()))
    });
    format!(
        "{of}[{start} --> {end}] {}{silent}; {:.2} s",
        attempts.join("; failed, "),
        window.elapsed_s
    )
}

/// One line for a text that was dropped, or for speech without one.
pub fn left_out(of: Option<&Path>, dropped: &Dropped) -> String {
    let time = |seconds: f64| format_timestamp(seconds, false, '.');
    let of = of.map_or_else(String::new, |file| {
        format!("{}: ", one_line(&file.to_string_lossy()))
    });
    let (start, end) = (time(dropped.start), time(dropped.end));
    let what = match dropped.reason {
        DropReason::NoSpeech => "dropped, nobody speaks",
        DropReason::Phantom => "dropped, a phrase that is often invented",
        DropReason::Loop => "dropped, it repeats itself",
        DropReason::Uncovered => "there is speech, and no text was found",
        DropReason::UncoveredSilent => "there is speech, and the model heard none",
        DropReason::UncoveredLoop => "there is speech, and its text repeated itself",
    };
    let of = dropped
        .speaker
        .as_ref()
        .map_or(of.clone(), |speaker| format!("{of}{}: ", one_line(speaker)));
    let text = match dropped.text.trim() {
        "" => String::new(),
        text => format!(": {}", one_line(text)),
    };
    format!("{of}[{start} --> {end}] {what}{text}")
}

fn tried(attempt: &Attempt) -> String {
    let draft = attempt.drafted.map_or_else(String::new, |draft| {
        let per_step = 1.0 + draft.accepted as f64 / draft.steps.max(1) as f64;
        let (accepted, proposed) = (draft.accepted, draft.proposed);
        format!(", draft {accepted} of {proposed} ({per_step:.1} tokens a step)")
    });
    format!(
        "temperature {:.1}: {} tokens, compression {:.2}, log-probability {:.2}, no speech {:.2}{draft}",
        attempt.temperature,
        attempt.tokens,
        attempt.compression_ratio,
        attempt.avg_logprob,
        attempt.no_speech_prob
    )
}

/// Names a file and what was wrong with it without stopping the work.
pub fn warned(file: &Path, warnings: &[String]) {
    for warning in warnings {
        super::terminal::complain(&format!("{}: warning: {warning}", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_one_line_with_all_its_attempts() {
        let attempt = |temperature, compression_ratio| Attempt {
            temperature,
            tokens: 12,
            avg_logprob: -0.5,
            compression_ratio,
            no_speech_prob: 0.01,
            drafted: None,
        };
        let window = WindowTrace {
            seek: 3000,
            frames: 1500,
            attempts: vec![attempt(0.0, 3.0), attempt(0.2, 1.5)],
            silent: true,
            elapsed_s: 0.456,
        };
        assert_eq!(
            traced(Some(Path::new("b\n.wav")), &window),
            "b\\n.wav: [00:30.000 --> 00:45.000] \
             temperature 0.0: 12 tokens, compression 3.00, log-probability -0.50, no speech 0.01; \
             failed, temperature 0.2: 12 tokens, compression 1.50, log-probability -0.50, \
             no speech 0.01; silent, skipped; 0.46 s"
        );
    }
}
