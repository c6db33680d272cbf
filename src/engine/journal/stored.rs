//! A window's result as a line of a journal holds it: numbers to the bit, words in place of weights.

use serde::{Deserialize, Serialize};

use crate::decoding::{DecodingResult, WordTiming};
use crate::transcript::{Attempt, Drafted};

/// A [`DecodingResult`]. The weights that word times are found by are megabytes; the words are not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredResult {
    tokens: Vec<u32>,
    text: String,
    language: String,
    /// The last one stands.
    attempts: Vec<StoredAttempt>,
    words: Option<Vec<WordTiming>>,
}

/// An [`Attempt`], whose numbers need not be finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredAttempt {
    tokens: usize,
    /// Temperature, mean log-probability, ratio of compression, probability of no speech.
    bits: [u64; 4],
    drafted: Option<Drafted>,
}

impl From<&Attempt> for StoredAttempt {
    fn from(a: &Attempt) -> Self {
        let numbers = [
            a.temperature,
            a.avg_logprob,
            a.compression_ratio,
            a.no_speech_prob,
        ];
        Self {
            tokens: a.tokens,
            bits: numbers.map(f64::to_bits),
            drafted: a.drafted,
        }
    }
}

impl From<&StoredAttempt> for Attempt {
    fn from(stored: &StoredAttempt) -> Self {
        let [temperature, avg_logprob, compression_ratio, no_speech_prob] =
            stored.bits.map(f64::from_bits);
        Self {
            temperature,
            tokens: stored.tokens,
            avg_logprob,
            compression_ratio,
            no_speech_prob,
            drafted: stored.drafted,
        }
    }
}

impl From<&DecodingResult> for StoredResult {
    fn from(result: &DecodingResult) -> Self {
        let mut attempts: Vec<StoredAttempt> = result.failed.iter().map(Into::into).collect();
        attempts.push((&result.attempt()).into());
        Self {
            tokens: result.tokens.clone(),
            text: result.text.clone(),
            language: result.language.clone(),
            attempts,
            words: result.words.clone(),
        }
    }
}

impl From<&StoredResult> for DecodingResult {
    fn from(stored: &StoredResult) -> Self {
        let mut failed: Vec<Attempt> = stored.attempts.iter().map(Into::into).collect();
        let last = failed.pop().unwrap_or_default();
        Self {
            tokens: stored.tokens.clone(),
            text: stored.text.clone(),
            avg_logprob: last.avg_logprob,
            no_speech_prob: last.no_speech_prob,
            temperature: last.temperature,
            compression_ratio: last.compression_ratio,
            language: stored.language.clone(),
            failed,
            alignment: None,
            words: stored.words.clone(),
            drafted: last.drafted,
        }
    }
}
