//! What may be sampled next: openai/whisper's logit filters as one constraint.
//!
//! In: the tokens that a row has sampled and its logits. Out: the [`Distribution`] over what
//! `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` leave. The logits stay untouched.

use std::ops::Range;

use crate::decoding::rank::{Constraint, Part, allowed_runs, runs, summarize, top_k};
use crate::decoding::vocabulary::Vocabulary;
use crate::dims::TIME_PRECISION_S;
use crate::error::{Error, Result};
use crate::options::{DecodingOptions, SuppressTokens};

/// The filters of one window.
#[derive(Clone, Debug)]
pub struct LogitRules {
    /// What is left at the first sampled token.
    first: Vec<Range<usize>>,
    /// What is left everywhere else.
    later: Vec<Range<usize>>,
    n_vocab: usize,
    eot: usize,
    timestamp_begin: usize,
    /// Whether timestamps are sampled by rule; without them they are tokens like any other.
    with_timestamps: bool,
    /// Last timestamp that may come first.
    max_initial: Option<usize>,
}

impl LogitRules {
    /// Reads the filters from a window's options.
    ///
    /// # Errors
    /// [`Error::Option`] where `suppress_tokens` names a token that the vocabulary lacks.
    pub fn new(vocabulary: &Vocabulary, options: &DecodingOptions) -> Result<Self> {
        let mut suppressed = suppressed_tokens(vocabulary, &options.suppress_tokens);
        if let Some(token) = suppressed
            .iter()
            .find(|t| **t as usize >= vocabulary.n_vocab)
        {
            let reason = format!(
                "{token} is not among the model's {} tokens",
                vocabulary.n_vocab
            );
            return Err(Error::Option {
                option: "suppress_tokens",
                reason,
            });
        }
        let with_timestamps = !options.without_timestamps;
        if with_timestamps {
            suppressed.push(vocabulary.no_timestamps);
        }
        let later = allowed_runs(vocabulary.n_vocab, &suppressed);
        if options.suppress_blank {
            suppressed.extend_from_slice(&vocabulary.blank);
            suppressed.push(vocabulary.eot);
        }
        Ok(Self {
            first: allowed_runs(vocabulary.n_vocab, &suppressed),
            later,
            n_vocab: vocabulary.n_vocab,
            eot: vocabulary.eot as usize,
            timestamp_begin: vocabulary.timestamp_begin as usize,
            with_timestamps,
            max_initial: max_initial_index(options.max_initial_timestamp),
        })
    }

    /// The distribution that a row with these sampled tokens samples from.
    pub fn apply<'a>(&'a self, logits: &'a [f32], sampled: &[u32]) -> Distribution<'a> {
        let constraint = self.constraint(sampled);
        let summary = summarize(logits, &constraint);
        let Constraint {
            allowed,
            mut text,
            timestamps,
        } = constraint;
        // Where timestamps together are likelier than any one text token, a timestamp it is.
        let forced =
            self.with_timestamps && summary.timestamps.log_sum_exp() > f64::from(summary.text.max);
        let all = if forced {
            text = 0..0;
            summary.timestamps
        } else {
            summary.text.join(summary.timestamps)
        };
        Distribution {
            logits,
            allowed,
            spans: [text, timestamps],
            all,
        }
    }

    fn constraint(&self, sampled: &[u32]) -> Constraint<'_> {
        let allowed = if sampled.is_empty() {
            &self.first
        } else {
            &self.later
        };
        if !self.with_timestamps {
            let (text, timestamps) = (0..self.n_vocab, self.n_vocab..self.n_vocab);
            return Constraint {
                allowed,
                text,
                timestamps,
            };
        }
        let (text, timestamps) = self.timestamp_rules(sampled);
        Constraint {
            allowed,
            text,
            timestamps,
        }
    }

    /// openai's `ApplyTimestampRules`: timestamps come in pairs except before the end of text,
    /// never step back, and come first.
    fn timestamp_rules(&self, sampled: &[u32]) -> (Range<usize>, Range<usize>) {
        let is_timestamp = |token: &u32| *token as usize >= self.timestamp_begin;
        let mut text = 0..self.timestamp_begin;
        let mut timestamps = self.timestamp_begin..self.n_vocab;
        let last_was = sampled.last().is_some_and(is_timestamp);
        // Too short to have a token before the last counts as a pair already closed.
        let penultimate_was = sampled
            .len()
            .checked_sub(2)
            .is_none_or(|i| is_timestamp(&sampled[i]));
        match (last_was, penultimate_was) {
            (true, true) => timestamps.start = self.n_vocab,
            (true, false) => text.start = self.eot,
            (false, _) => {}
        }
        if let Some(last) = sampled.iter().rev().find(|t| is_timestamp(t)) {
            // A closing timestamp may be repeated to open the next segment; otherwise time has to
            // move on, so that no segment is empty.
            let repeatable = last_was && !penultimate_was;
            let floor = *last as usize + usize::from(!repeatable);
            timestamps.start = timestamps.start.max(floor);
        }
        if sampled.is_empty() {
            text = 0..0;
            if let Some(index) = self.max_initial {
                timestamps.end = timestamps.end.min(self.timestamp_begin + index + 1);
            }
        }
        (text, timestamps)
    }
}

/// openai's `_get_suppress_tokens`. An empty list there switches the filter off altogether,
/// special tokens included.
fn suppressed_tokens(vocabulary: &Vocabulary, asked: &SuppressTokens) -> Vec<u32> {
    let mut suppressed = match asked {
        SuppressTokens::Only(tokens) if tokens.is_empty() => return Vec::new(),
        SuppressTokens::Only(tokens) => tokens.clone(),
        SuppressTokens::NonSpeechAnd(tokens) => {
            [tokens.as_slice(), vocabulary.non_speech.as_slice()].concat()
        }
    };
    suppressed.extend_from_slice(&vocabulary.specials);
    suppressed
}

/// Zero means "no limit" there, as in openai/whisper.
fn max_initial_index(seconds: Option<f64>) -> Option<usize> {
    let seconds = seconds.filter(|s| *s > 0.0)?;
    Some((seconds / TIME_PRECISION_S).round_ties_even() as usize)
}

/// What a row may sample from: log-softmax of the logits that the filters left.
#[derive(Clone, Debug)]
pub struct Distribution<'a> {
    logits: &'a [f32],
    allowed: &'a [Range<usize>],
    spans: [Range<usize>; 2],
    all: Part,
}

impl<'a> Distribution<'a> {
    /// The likeliest token, the lowest among equals; `None` where nothing can be sampled.
    pub fn argmax(&self) -> Option<u32> {
        (self.all.sum_exp > 0.0).then_some(self.all.argmax as u32)
    }

    /// The largest logit.
    pub fn max(&self) -> f32 {
        self.all.max
    }

    /// Log-probability of a logit among those that are left.
    pub fn log_softmax(&self, logit: f32) -> f32 {
        (logit - self.all.max) - self.all.sum_exp.ln() as f32
    }

    /// Log-probability of a token that may be sampled.
    pub fn logprob(&self, token: u32) -> f32 {
        self.logits
            .get(token as usize)
            .map_or(f32::NEG_INFINITY, |x| self.log_softmax(*x))
    }

    /// The tokens that are left, as runs of logits with their first token.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &'a [f32])> + use<'a> {
        let [text, timestamps] = &self.spans;
        let text = runs(self.logits, self.allowed, text);
        text.chain(runs(self.logits, self.allowed, timestamps))
    }

    /// The `k` best tokens with their log-probabilities, descending. Where fewer can be sampled,
    /// the lowest other tokens fill up at negative infinity, as a full-width top-k has it.
    pub fn top_k(&self, k: usize, best: &mut Vec<(u32, f32)>) {
        best.clear();
        for span in &self.spans {
            top_k(self.logits, self.allowed, span, k, best);
        }
        for (_, value) in best.iter_mut() {
            *value = self.log_softmax(*value);
        }
        for token in 0.. {
            if best.len() >= k {
                break;
            }
            if best.iter().all(|(other, _)| *other != token) {
                best.push((token, f32::NEG_INFINITY));
            }
        }
    }
}
