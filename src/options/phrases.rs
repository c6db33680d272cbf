//! Terms that are to be expected, and the files that list them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bad;
use crate::error::{Error, Result};

/// A term that is to be expected: a name, a word, several words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phrase {
    /// The term as it is written.
    pub text: String,
    /// What is added to the logit of each of its tokens, 0 to 20; [`Phrase::WEIGHT`] is usual.
    #[serde(default = "Phrase::usual_weight")]
    pub weight: f64,
}

/// Most terms of a list.
const MOST_PHRASES: usize = 10_000;
/// Most characters of a term.
const MOST_CHARACTERS: usize = 200;
/// The greatest weight: beyond it nothing else would ever be said.
const MOST_WEIGHT: f64 = 20.0;
/// Most bytes of a file.
const MOST_BYTES: u64 = 8 << 20;

impl Phrase {
    /// The weight of a term that has none of its own.
    pub const WEIGHT: f64 = 2.0;

    /// A term with the usual weight.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            weight: Self::WEIGHT,
        }
    }

    fn usual_weight() -> f64 {
        Self::WEIGHT
    }

    fn check(&self) -> std::result::Result<(), String> {
        let text = &self.text;
        if text.trim().is_empty() {
            return Err("a term is empty".into());
        }
        if text.chars().count() > MOST_CHARACTERS {
            let start: String = text.chars().take(20).collect();
            return Err(format!(
                "{start}… has more than {MOST_CHARACTERS} characters"
            ));
        }
        if text.contains(char::is_control) {
            return Err(format!("{text:?} has a control character"));
        }
        if !(0.0..=MOST_WEIGHT).contains(&self.weight) {
            let weight = self.weight;
            return Err(format!(
                "{weight}, the weight of {text}, is not between 0 and {MOST_WEIGHT}"
            ));
        }
        Ok(())
    }
}

/// Reads a list of terms: one a line, a weight of its own behind a tab. White space at both ends, empty lines and
/// lines that begin with `#` do not count.
///
/// # Errors
/// [`Error::Input`] for a file that cannot be read, [`Error::Option`] naming the file and the line that makes no
/// sense.
pub fn read_phrases(file: impl AsRef<Path>) -> Result<Vec<Phrase>> {
    let file = file.as_ref();
    let unread = |source| Error::Input {
        input: file.display().to_string(),
        source,
    };
    let length = std::fs::metadata(file).map_err(unread)?.len();
    if length > MOST_BYTES {
        let reason = format!(
            "{}: {length} bytes are too many for a list of terms",
            file.display()
        );
        return bad("phrases", reason);
    }
    let bytes = std::fs::read(file).map_err(unread)?;
    parse(&bytes).or_else(|(line, reason)| {
        bad(
            "phrases",
            format!("{}, line {line}: {reason}", file.display()),
        )
    })
}

/// The terms of a list; else the line that makes no sense, and why.
fn parse(bytes: &[u8]) -> std::result::Result<Vec<Phrase>, (usize, String)> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut phrases = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err((line, "is not UTF-8 text".into()));
        };
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        phrases.push(phrase(text).map_err(|reason| (line, reason))?);
        if phrases.len() > MOST_PHRASES {
            return Err((line, format!("more than {MOST_PHRASES} terms")));
        }
    }
    if phrases.is_empty() {
        return Err((1, "the file has no term".into()));
    }
    Ok(phrases)
}

fn phrase(line: &str) -> std::result::Result<Phrase, String> {
    // A tab at the end has nothing behind it.
    let line = line.trim_end();
    let phrase = match line.split_once('\t') {
        None => Phrase::new(line.trim()),
        Some((text, weight)) => {
            let weight = weight.trim();
            let Ok(weight) = weight.parse() else {
                return Err(format!("{weight:?} behind the tab is no weight"));
            };
            Phrase {
                text: text.trim().into(),
                weight,
            }
        }
    };
    phrase.check()?;
    Ok(phrase)
}

/// A list as a request carries it: as a file has it, or as JSON, `["a", ["b", 3.5]]`.
///
/// # Errors
/// What makes no sense, in words.
#[cfg(feature = "server")]
pub(crate) fn parse_sent(text: &str) -> std::result::Result<Vec<Phrase>, String> {
    if !text.trim_start().starts_with('[') {
        return parse(text.as_bytes()).map_err(|(line, reason)| format!("line {line}: {reason}"));
    }
    let wrong = "is neither a list of terms, [\"a\", [\"b\", 3.5]], nor one term a line";
    let terms: Vec<Sent> = serde_json::from_str(text).map_err(|e| format!("{wrong}: {e}"))?;
    let phrases: Vec<Phrase> = terms.into_iter().map(Phrase::from).collect();
    checked(&phrases)?;
    Ok(phrases)
}

/// A term in JSON: its text, or that and its weight.
#[cfg(feature = "server")]
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Text(String),
    Weighed(String, f64),
}

#[cfg(feature = "server")]
impl From<Sent> for Phrase {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Text(text) => Self::new(text),
            Sent::Weighed(text, weight) => Self { text, weight },
        }
    }
}

/// Checks a list that came from no file.
pub(super) fn check(phrases: &[Phrase]) -> Result<()> {
    checked(phrases).or_else(|reason| bad("phrases", reason))
}

fn checked(phrases: &[Phrase]) -> std::result::Result<(), String> {
    if phrases.len() > MOST_PHRASES {
        return Err(format!(
            "{} terms are more than {MOST_PHRASES}",
            phrases.len()
        ));
    }
    phrases.iter().try_for_each(Phrase::check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_terms_weights_and_comments() {
        let list = "\u{feff}# names\nZacinto\n\n  Ugo Foscolo \t 3.5 \r\nC#\t0\n\tx\n东京\t\n";
        let (line, reason) = parse(list.as_bytes()).unwrap_err();
        assert_eq!((line, reason.contains("\"x\"")), (6, true), "{reason}");
        let list = list.replace("\tx\n", "");
        let phrases = parse(list.as_bytes()).unwrap();
        let found: Vec<_> = phrases
            .iter()
            .map(|p| (p.text.as_str(), p.weight))
            .collect();
        let usual = Phrase::WEIGHT;
        let expected = [
            ("Zacinto", usual),
            ("Ugo Foscolo", 3.5),
            ("C#", 0.0),
            ("东京", usual),
        ];
        assert_eq!(found, expected);
    }

    #[cfg(feature = "server")]
    #[test]
    fn lists_that_are_sent_are_lines_or_json() {
        let weighed = [("Zacinto", 2.0), ("Ugo Foscolo", 3.5)];
        let sent = [
            "Zacinto\r\nUgo Foscolo\t3.5",
            " [\"Zacinto\", [\"Ugo Foscolo\", 3.5]]",
        ];
        for sent in sent {
            let phrases = parse_sent(sent).unwrap();
            let found: Vec<_> = phrases
                .iter()
                .map(|p| (p.text.as_str(), p.weight))
                .collect();
            assert_eq!(found, weighed, "{sent}");
        }
        let many = format!("[{}\"a\"]", "\"a\",".repeat(10_000));
        let wrong = [
            ("a\nb\tc", "line 2: \"c\""),
            ("[\"a\"", "one term a line"),
            ("[[\"a\"]]", "one term a line"),
            ("[{\"a\": 1}]", "one term a line"),
            ("[[\"a\", 21]]", "between 0 and 20"),
            ("[\" \"]", "empty"),
            (many.as_str(), "more than 10000"),
        ];
        for (sent, part) in wrong {
            let told = parse_sent(sent).unwrap_err();
            assert!(told.contains(part), "{sent:.30}: {told}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        let long = format!("a\n{}", "x".repeat(201));
        let many = "a\n".repeat(10_001);
        let cases: [(&[u8], usize, &str); 9] = [
            (b"a\nb\tc", 2, "no weight"),
            (b"a\nb\t1\t2", 2, "no weight"),
            (b"b\t-1", 1, "between"),
            (b"b\tNaN", 1, "between"),
            (b"b\t21", 1, "between"),
            (b"a\n\xff\xfe", 2, "UTF-8"),
            (b"# a\n\n", 1, "no term"),
            (long.as_bytes(), 2, "200"),
            (many.as_bytes(), 10_001, "10000"),
        ];
        for (list, line, part) in cases {
            let (found, reason) = parse(list).unwrap_err();
            assert!(found == line && reason.contains(part), "{found}: {reason}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.txt");
        let missing = read_phrases(&file).unwrap_err().to_string();
        assert!(missing.contains("names.txt: cannot be read"), "{missing}");
        std::fs::write(&file, "a\nb\tc\n").unwrap();
        let told = read_phrases(&file).unwrap_err().to_string();
        assert!(told.contains("names.txt, line 2: \"c\""), "{told}");
    }
}
