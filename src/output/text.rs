//! Times and plain lines: txt, tsv, and what a terminal shows.

use std::io::{self, Write};

use crate::transcript::{Segment, Transcript};

/// What Python's `str.strip` and `\s` take for white space: Unicode's, and the four separators below the space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Text without white space at its ends.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whole milliseconds, halves to even as Python rounds. Times below zero, and what is no number, count as zero.
pub(super) fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round_ties_even() as u64
}

/// `01:02.345`, with `01:` for the hours in front where there are any, or where they are asked for.
#[must_use]
pub fn format_timestamp(seconds: f64, always_include_hours: bool, decimal_marker: char) -> String {
    let ms = milliseconds(seconds);
    let (hours, minutes, whole, rest) =
        (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let hours = if always_include_hours || hours > 0 {
        format!("{hours:02}:")
    } else {
        String::new()
    };
    format!("{hours}{minutes:02}:{whole:02}{decimal_marker}{rest:03}")
}

/// A segment as a terminal shows it: `[00:00.000 --> 00:07.600]  Text.`
#[must_use]
pub fn timed_line(segment: &Segment) -> String {
    let [start, end] = [segment.start, segment.end].map(|time| format_timestamp(time, false, '.'));
    format!("[{start} --> {end}] {}", segment.text)
}

pub(super) fn write_txt(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    transcript
        .segments
        .iter()
        .try_for_each(|segment| writeln!(out, "{}", strip(&segment.text)))
}

/// Rows of start and end in milliseconds and the text, as RFC 4180 has it.
pub(super) fn write_csv(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "start,end,text\r\n")?;
    for segment in &transcript.segments {
        let [start, end] = [segment.start, segment.end].map(milliseconds);
        let text = strip(&segment.text).replace('"', "\"\"");
        write!(out, "{start},{end},\"{text}\"\r\n")?;
    }
    Ok(())
}

pub(super) fn write_tsv(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "start\tend\ttext")?;
    for segment in &transcript.segments {
        let text = strip(&segment.text).replace('\t', " ");
        writeln!(
            out,
            "{}\t{}\t{text}",
            milliseconds(segment.start),
            milliseconds(segment.end)
        )?;
    }
    Ok(())
}
