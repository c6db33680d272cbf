//! What the decoding of one window gives.

use serde::{Deserialize, Serialize};

use crate::transcript::Attempt;
pub use crate::transcript::Drafted;

/// openai/whisper's `DecodingResult`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingResult {
    /// The sampled tokens, timestamps included, without end of text.
    pub tokens: Vec<u32>,
    /// Their text, stripped.
    pub text: String,
    /// Mean log-probability of the tokens and the end of text.
    pub avg_logprob: f64,
    /// Probability of `<|nospeech|>` where the decoding starts; NaN if the vocabulary has none.
    pub no_speech_prob: f64,
    /// The temperature it was sampled at.
    pub temperature: f64,
    /// UTF-8 bytes over zlib bytes of the text.
    pub compression_ratio: f64,
    /// Code of the language that was decoded.
    pub language: String,
    /// What lower temperatures gave, in order; each failed the gates.
    pub failed: Vec<Attempt>,
    /// What word timing needs, where it was asked for and there is text.
    pub alignment: Option<Box<Alignment>>,
    /// Its words, where they were found before: [`alignment`](Self::alignment) is not needed then.
    pub words: Option<Vec<WordTiming>>,
    /// What a draft was worth, where one took part.
    pub drafted: Option<Drafted>,
}

/// One word of a window: openai/whisper's `WordTiming`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordTiming {
    /// The word with its leading space; empty where it was merged into a neighbour.
    pub word: String,
    /// Its text tokens.
    pub tokens: Vec<u32>,
    /// Seconds from the window's start.
    pub start: f64,
    /// Seconds from the window's start.
    pub end: f64,
    /// Mean probability of its tokens.
    pub probability: f64,
}

/// What the network says about where a window's text is in its audio: of the start sequence, the text and
/// its end, fed once more without timestamps, as openai/whisper's `find_alignment` feeds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// The text tokens.
    pub text_tokens: Vec<u32>,
    /// Each text token's probability among all text tokens.
    pub probabilities: Vec<f32>,
    /// The audio position (20 ms) at which each text token begins, then the end; empty where there is no audio.
    pub starts: Vec<usize>,
}

impl DecodingResult {
    /// What the gates look at.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        Attempt {
            temperature: self.temperature,
            tokens: self.tokens.len(),
            avg_logprob: self.avg_logprob,
            compression_ratio: self.compression_ratio,
            no_speech_prob: self.no_speech_prob,
            drafted: self.drafted,
        }
    }
}

/// Cuts the white space off both ends, as Python's `str.strip` sees it: the four ASCII separators
/// count too.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
