//! Where a recording has speech, as a file: JSON of this crate's own, or RTTM, which programs that tell speakers apart
//! write.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::write_bytes;
use crate::error::{Error, Result};
use crate::transcript::SpeechSpan;

/// `{"duration": seconds, "speech": [{"start": seconds, "end": seconds}]}`.
pub(crate) fn speech_map_json(spans: &[SpeechSpan], duration_s: f64) -> serde_json::Value {
    serde_json::json!({ "duration": duration_s, "speech": spans })
}

/// Writes where a recording, called `name`, has speech: as RTTM where the file's name ends so, else as JSON.
///
/// # Errors
/// [`Error::Output`] naming the file.
pub fn write_speech_map(
    file: &Path,
    name: &str,
    spans: &[SpeechSpan],
    duration_s: f64,
) -> Result<()> {
    let text = match is_rttm(file) {
        true => rttm(name, spans),
        false => format!("{}\n", speech_map_json(spans, duration_s)),
    };
    write_bytes(file, text.as_bytes())
}

/// Reads where a recording has speech, of whatever [`write_speech_map`] writes. Of RTTM every `SPEAKER` line counts,
/// whoever speaks; of JSON an object with the list `speech`, or the list alone.
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, [`Error::Json`] or [`Error::Audio`] naming the file and what is
/// wrong in which line.
pub fn read_speech_map(file: &Path) -> Result<Vec<SpeechSpan>> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Input {
        input: file.display().to_string(),
        source,
    })?;
    let spans = match is_rttm(file) {
        true => from_rttm(&text),
        false => from_json(file, &text)?,
    };
    let wrong = |reason| Error::Audio {
        input: file.display().to_string(),
        reason,
    };
    let spans = spans.map_err(wrong)?;
    let holds = |s: &SpeechSpan| s.start >= 0.0 && s.end >= s.start && s.end.is_finite();
    match spans.iter().find(|span| !holds(span)) {
        Some(SpeechSpan { start, end }) => Err(wrong(format!(
            "speech from {start} s to {end} s makes no sense"
        ))),
        None => Ok(spans),
    }
}

fn is_rttm(file: &Path) -> bool {
    file.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("rttm"))
}

fn rttm(name: &str, spans: &[SpeechSpan]) -> String {
    // Fields end at white space.
    let name: String = name
        .chars()
        .map(|c| if c.is_whitespace() { '_' } else { c })
        .collect();
    let mut text = String::new();
    for SpeechSpan { start, end } in spans {
        let lasts = end - start;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "SPEAKER {name} 1 {start:.3} {lasts:.3} <NA> <NA> speech <NA> <NA>"
        );
    }
    text
}

type Spans = std::result::Result<Vec<SpeechSpan>, String>;

fn from_rttm(text: &str) -> Spans {
    let mut spans = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.first() != Some(&"SPEAKER") {
            continue;
        }
        let number = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok());
        let (Some(start), Some(lasts)) = (number(3), number(4)) else {
            return Err(format!(
                "line {}: a SPEAKER line of RTTM has its start and its length as fourth and fifth field",
                n + 1
            ));
        };
        let end = start + lasts;
        spans.push(SpeechSpan { start, end });
    }
    Ok(spans)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Map { speech: Vec<SpeechSpan> },
    List(Vec<SpeechSpan>),
}

fn from_json(file: &Path, text: &str) -> Result<Spans> {
    match serde_json::from_str(text) {
        Ok(Stored::Map { speech } | Stored::List(speech)) => Ok(Ok(speech)),
        Err(error) => Err(Error::Json {
            file: file.to_owned(),
            source: error.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_as_they_were_written() {
        let place = tempfile::tempdir().unwrap();
        let spans = [(0.25, 1.5), (2.0, 61.125)].map(|(start, end)| SpeechSpan { start, end });
        for name in ["map.json", "map", "map.RTTM"] {
            let file = place.path().join("new").join(name);
            write_speech_map(&file, "my talk", &spans, 70.0).unwrap();
            assert_eq!(read_speech_map(&file).unwrap(), spans, "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let place = tempfile::tempdir().unwrap();
        let cases = [
            ("a.json", "{\"speech\": 3}", "a.json: is not the JSON"),
            (
                "b.json",
                "[{\"start\": 2.0, \"end\": 1.0}]",
                "b.json: speech from 2 s to 1 s",
            ),
            ("c.rttm", "; a note\nSPEAKER x 1 0.5\n", "c.rttm: line 2"),
            (
                "d.rttm",
                "SPEAKER x 1 0.5 nan <NA>",
                "d.rttm: speech from 0.5 s to NaN s",
            ),
        ];
        for (name, text, told) in cases {
            let file = place.path().join(name);
            std::fs::write(&file, text).unwrap();
            let error = read_speech_map(&file).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let missing = read_speech_map(&place.path().join("e.json")).unwrap_err();
        assert!(
            missing.to_string().contains("e.json: cannot be read"),
            "{missing}"
        );
    }
}
