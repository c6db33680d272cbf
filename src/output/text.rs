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
    match &segment.speaker {
        Some(speaker) => format!("[{start} --> {end}] {speaker}: {}", strip(&segment.text)),
        None => format!("[{start} --> {end}] {}", segment.text),
    }
}

pub(super) fn write_txt(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    transcript
        .segments
        .iter()
        .try_for_each(|segment| writeln!(out, "{}", spoken_line(segment)))
}

/// A segment's text, with its speaker before it where that is known.
pub fn spoken_line(segment: &Segment) -> String {
    let text = strip(&segment.text);
    match &segment.speaker {
        Some(speaker) => format!("{speaker}: {text}"),
        None => text.to_owned(),
    }
}

/// Whether a table has a column for speakers.
fn has_speakers(transcript: &Transcript) -> bool {
    transcript.segments.iter().any(|s| s.speaker.is_some())
}

/// A speaker as a cell of a table with such a column.
fn speaker_cell(segment: &Segment) -> &str {
    segment.speaker.as_deref().unwrap_or_default()
}

/// Rows of start and end in milliseconds and the text, as RFC 4180 has it.
pub(super) fn write_csv(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    let speakers = has_speakers(transcript);
    let column = if speakers { ",speaker" } else { "" };
    write!(out, "start,end{column},text\r\n")?;
    let quoted = |text: &str| text.replace('"', "\"\"");
    for segment in &transcript.segments {
        let [start, end] = [segment.start, segment.end].map(milliseconds);
        write!(out, "{start},{end},")?;
        if speakers {
            write!(out, "\"{}\",", quoted(speaker_cell(segment)))?;
        }
        write!(out, "\"{}\"\r\n", quoted(strip(&segment.text)))?;
    }
    Ok(())
}

pub(super) fn write_tsv(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    let speakers = has_speakers(transcript);
    let column = if speakers { "\tspeaker" } else { "" };
    writeln!(out, "start\tend{column}\ttext")?;
    let untabbed = |text: &str| text.replace('\t', " ");
    for segment in &transcript.segments {
        let [start, end] = [segment.start, segment.end].map(milliseconds);
        write!(out, "{start}\t{end}\t")?;
        if speakers {
            write!(out, "{}\t", untabbed(speaker_cell(segment)))?;
        }
        writeln!(out, "{}", untabbed(strip(&segment.text)))?;
    }
    Ok(())
}
