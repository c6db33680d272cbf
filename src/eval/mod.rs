//! Texts made comparable, and how far one is from another: openai/whisper's normalizers, and word and character errors.
//!
//! In: what was said and what was recognised. Out: both without case, punctuation and spelling habits, and the edits
//! between them. The figures agree with `whisper-normalizer` and `jiwer`, the Python packages that papers use.

mod basic;
mod edits;
mod english;
mod number_words;
mod numbers;
mod rules;
#[cfg(test)]
mod tests;

pub use basic::BasicTextNormalizer;
pub use edits::{Errors, cer, wer};
pub use english::EnglishTextNormalizer;

/// Languages written without spaces, which are scored by characters.
const BY_CHARACTER: [&str; 2] = ["ja", "zh"];

/// Scores transcripts of any language with the normalizer that fits it.
pub struct Scorer {
    english: EnglishTextNormalizer,
    basic: BasicTextNormalizer,
}

impl Default for Scorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Scorer {
    /// Compiles the rules once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            english: EnglishTextNormalizer::new(),
            basic: BasicTextNormalizer::new(false, false),
        }
    }

    /// The text as it is compared: English by the English rules, every other language by the basic ones, and without
    /// spaces where characters are counted.
    #[must_use]
    pub fn normalized(&self, language: &str, text: &str) -> String {
        let text = if language == "en" {
            self.english.normalize(text)
        } else {
            self.basic.normalize(text)
        };
        if Self::by_character(language) {
            text.replace(' ', "")
        } else {
            text
        }
    }

    /// Whether a language is scored by characters (CER) and not by words (WER).
    #[must_use]
    pub fn by_character(language: &str) -> bool {
        BY_CHARACTER.contains(&language)
    }

    /// The errors of a hypothesis, in words or characters as the language has it.
    #[must_use]
    pub fn errors(&self, language: &str, reference: &str, hypothesis: &str) -> Errors {
        let [reference, hypothesis] =
            [reference, hypothesis].map(|text| self.normalized(language, text));
        if Self::by_character(language) {
            cer(&reference, &hypothesis)
        } else {
            wer(&reference, &hypothesis)
        }
    }
}

/// A constant pattern, compiled. The tests compile every one.
fn pattern(text: &str) -> regex::Regex {
    regex::Regex::new(text).expect("a constant pattern that the tests compile")
}
