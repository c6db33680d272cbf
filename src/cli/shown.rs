//! What `transcribe` shows beside its progress: segments, headings, the language, and the closing line.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use super::progress::clock;
use super::resolve::{Job, Shown};
use super::terminal::{columns, one_line, wrapped};
use crate::output;
use crate::tokenizer::language_name;
use crate::transcript::Segment;

/// Columns of `[00:00.000 --> 00:00.000]  `, under which a long segment goes on.
const TIMES: usize = 27;

/// A segment on stdout. Lines end between words where a terminal would end them anywhere.
pub fn print(shown: Shown, segment: &Segment) -> std::io::Result<()> {
    let text = match shown {
        Shown::Nothing => return Ok(()),
        Shown::Text => output::spoken_line(segment),
        Shown::Timed => output::timed_line(segment),
    };
    let mut out = std::io::stdout().lock();
    match out.is_terminal() {
        true if shown == Shown::Timed => writeln!(out, "{}", wrapped(&text, columns(), TIMES)),
        _ => writeln!(out, "{text}"),
    }?;
    out.flush()
}

/// The name of the file whose text follows, as `head` shows it.
pub fn heading(file: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "==> {} <==", one_line(&file.to_string_lossy()))?;
    out.flush()
}

/// Which language was detected, and how sure the model is of it.
pub fn language_line(of: Option<&Path>, code: &str, probability: f64) -> String {
    let of = of.map_or_else(String::new, |file| {
        format!("{}: ", one_line(&file.to_string_lossy()))
    });
    let name = language_name(code).unwrap_or(code);
    let mut letters = name.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let name: String = first.chain(letters).collect();
    format!(
        "{of}detected language: {name} ({code}, {:.0} %)",
        probability * 100.0
    )
}

/// What a run has done, for its closing line.
pub struct Tally {
    /// Inputs in all.
    pub files: usize,
    started: Instant,
    /// Failed files, and seconds of audio.
    counted: Mutex<(usize, f64)>,
}

impl Tally {
    /// For so many inputs, of which some have failed already.
    pub fn new(files: usize, failed: usize, started: Instant) -> Self {
        let counted = Mutex::new((failed, 0.0));
        Self {
            files,
            started,
            counted,
        }
    }

    /// Seconds of audio that were worked on.
    pub fn add(&self, audio_s: f64) {
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1 += audio_s;
    }

    pub fn fail(&self) {
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0 += 1;
    }

    /// One line: how many files, where their texts are, how fast it was.
    pub fn text(&self, job: &Job) -> String {
        let (failed, audio_s) = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let formats = job.formats.iter().map(|format| format.extension());
        let place = match job.formats.is_empty() {
            true => "not saved: -o FOLDER writes files".to_owned(),
            false if job.to_stdout => "on standard output".to_owned(),
            false => format!(
                "{} in {}",
                formats.collect::<Vec<_>>().join(", "),
                job.output_dir.display()
            ),
        };
        closing(
            self.files,
            failed,
            audio_s,
            self.started.elapsed().as_secs_f64(),
            &place,
        )
    }
}

fn closing(files: usize, failed: usize, audio_s: f64, elapsed_s: f64, place: &str) -> String {
    let done = files - failed.min(files);
    let mut text = match files {
        1 if failed == 0 => String::new(),
        1 => return "nothing done".to_owned(),
        _ => format!("{done} of {files} recordings, "),
    };
    text += &format!(
        "{} of audio in {} ({:.1}× real time)",
        clock(audio_s),
        clock(elapsed_s),
        audio_s / elapsed_s.max(1e-3)
    );
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    if done > 0 {
        text += &format!("; {place}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts() {
        let place = "srt, json in out";
        let table = [
            (
                1,
                0,
                "5:10 of audio in 0:31 (10.0× real time); srt, json in out",
            ),
            (1, 1, "nothing done"),
            (
                12,
                3,
                "9 of 12 recordings, 5:10 of audio in 0:31 (10.0× real time), 3 failed; srt, json in out",
            ),
            (
                2,
                2,
                "0 of 2 recordings, 5:10 of audio in 0:31 (10.0× real time), 2 failed",
            ),
        ];
        for (files, failed, want) in table {
            assert_eq!(closing(files, failed, 310.0, 31.0, place), want);
        }
    }

    #[test]
    fn languages_are_named() {
        assert_eq!(
            language_line(None, "de", 0.984),
            "detected language: German (de, 98 %)"
        );
        let of = language_line(Some(Path::new("a\u{1b}.wav")), "fr", 0.5);
        assert_eq!(of, "a\\u{1b}.wav: detected language: French (fr, 50 %)");
    }
}
