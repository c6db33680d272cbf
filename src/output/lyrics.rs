//! Lyrics as players show them: lrc, a line of text with the time at which it begins.

use std::io::{self, Write};

use super::WriterOptions;
use super::subtitles::{TimedCue, timed_cues};
use crate::transcript::Transcript;

/// A silence that is longer takes the last line from the screen, in seconds.
const CLEARED_AFTER_S: f64 = 2.0;

/// A line a cue; with `highlight_words` each word has its time as well, as players that know the format's
/// extension read it. An empty line ends a text that silence follows.
pub(super) fn write(
    transcript: &Transcript,
    options: &WriterOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let cues = timed_cues(transcript, options);
    for (i, cue) in cues.iter().enumerate() {
        writeln!(
            out,
            "[{}]{}",
            time(cue.start),
            line(cue, options.highlight_words)
        )?;
        let next_s = cues.get(i + 1).map_or(f64::INFINITY, |next| next.start);
        if next_s - cue.end > CLEARED_AFTER_S {
            writeln!(out, "[{}]", time(cue.end))?;
        }
    }
    Ok(())
}

fn line(cue: &TimedCue, word_by_word: bool) -> String {
    let text = text(cue, word_by_word);
    match &cue.speaker {
        Some(speaker) => format!("{speaker}: {text}"),
        None => text,
    }
}

fn text(cue: &TimedCue, word_by_word: bool) -> String {
    if !word_by_word || cue.words.is_empty() {
        return cue.text().replace('\n', " ");
    }
    let word = |word: &super::subtitles::CueWord| {
        let text = word.text.trim();
        format!("<{}>{text}", time(word.start))
    };
    cue.words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// `01:02.34`; minutes go on beyond an hour.
fn time(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round_ties_even() as u64;
    let (minutes, rest) = (hundredths / 6000, hundredths % 6000);
    format!("{minutes:02}:{:02}.{:02}", rest / 100, rest % 100)
}
