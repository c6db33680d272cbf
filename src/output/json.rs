//! openai/whisper's result as JSON: written as Python's `json.dump` writes it, and read back.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::transcript::{Dropped, Segment, Transcript, Word};

pub(super) fn write(transcript: &Transcript, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "{{\"text\": {}, \"segments\": ",
        string(&transcript.text)
    )?;
    write!(out, "{}", list(transcript.segments.iter().map(segment)))?;
    write!(out, ", \"language\": {}", string(&transcript.language))?;
    if !transcript.dropped.is_empty() {
        write!(
            out,
            ", \"dropped\": {}",
            list(transcript.dropped.iter().map(dropped))
        )?;
    }
    write!(out, "}}")
}

fn dropped(d: &Dropped) -> String {
    let mut fields = vec![
        ("start", float(d.start)),
        ("end", float(d.end)),
        ("text", string(&d.text)),
        ("reason", string(d.reason.name())),
    ];
    fields.extend(d.speaker.as_deref().map(|who| ("speaker", string(who))));
    object(&fields)
}

fn segment(s: &Segment) -> String {
    let mut fields = vec![
        ("id", s.id.to_string()),
        ("seek", s.seek.to_string()),
        ("start", float(s.start)),
        ("end", float(s.end)),
        ("text", string(&s.text)),
        ("tokens", list(s.tokens.iter().map(u32::to_string))),
        ("temperature", float(s.temperature)),
        ("avg_logprob", float(s.avg_logprob)),
        ("compression_ratio", float(s.compression_ratio)),
        ("no_speech_prob", float(s.no_speech_prob)),
    ];
    fields.extend(
        s.words
            .as_ref()
            .map(|words| ("words", list(words.iter().map(word)))),
    );
    fields.extend(s.language.as_deref().map(|code| ("language", string(code))));
    let probability = s.language_probability.map(float);
    fields.extend(probability.map(|p| ("language_probability", p)));
    fields.extend(s.speaker.as_deref().map(|who| ("speaker", string(who))));
    object(&fields)
}

fn word(w: &Word) -> String {
    object(&[
        ("word", string(&w.word)),
        ("start", float(w.start)),
        ("end", float(w.end)),
        ("probability", float(w.probability)),
    ])
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("\"{key}\": {value}"))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A string with everything but printable ASCII escaped.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// A number as Python's `repr` has it: the fewest digits that read back the same, in plain notation from 0.0001 to 1e16.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    text: String,
    segments: Vec<StoredSegment>,
    #[serde(default)]
    language: String,
}

#[derive(Deserialize)]
struct StoredSegment {
    #[serde(default)]
    id: usize,
    #[serde(default)]
    seek: usize,
    start: f64,
    end: f64,
    text: String,
    #[serde(default)]
    tokens: Vec<u32>,
    #[serde(default)]
    temperature: f64,
    #[serde(default)]
    avg_logprob: f64,
    #[serde(default)]
    compression_ratio: f64,
    #[serde(default)]
    no_speech_prob: f64,
    words: Option<Vec<StoredWord>>,
    language: Option<String>,
    language_probability: Option<f64>,
    speaker: Option<String>,
}

#[derive(Deserialize)]
struct StoredWord {
    word: String,
    start: f64,
    end: f64,
    #[serde(default)]
    probability: f64,
}

/// Reads openai/whisper's result JSON, ours included; `name` is what errors call it.
///
/// Only `segments` with their `start`, `end` and `text` must be there. JSON has no NaN or Infinity: a file that holds one,
/// as Python and the writer here print them, is refused.
///
/// # Errors
/// [`Error::Json`] saying what is wrong and where.
pub fn read_json(name: &str, json: &[u8]) -> Result<Transcript> {
    let stored: Stored = serde_json::from_slice(json).map_err(|error| Error::Json {
        file: name.into(),
        source: error.into(),
    })?;
    let segments = stored.segments.into_iter().map(Segment::from).collect();
    Ok(Transcript {
        text: stored.text,
        segments,
        language: stored.language,
        ..Transcript::default()
    })
}

impl From<StoredSegment> for Segment {
    fn from(s: StoredSegment) -> Self {
        let word = |w: StoredWord| Word {
            word: w.word,
            start: w.start,
            end: w.end,
            probability: w.probability,
        };
        Self {
            id: s.id,
            seek: s.seek,
            start: s.start,
            end: s.end,
            text: s.text,
            tokens: s.tokens,
            temperature: s.temperature,
            avg_logprob: s.avg_logprob,
            compression_ratio: s.compression_ratio,
            no_speech_prob: s.no_speech_prob,
            words: s.words.map(|words| words.into_iter().map(word).collect()),
            language: s.language,
            language_probability: s.language_probability,
            speaker: s.speaker,
        }
    }
}
