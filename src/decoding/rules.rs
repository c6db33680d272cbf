//! What may be sampled next: openai/whisper's logit filters as one constraint.
//!
//! In: the tokens that a row has sampled. Out: the [`Constraint`] of what `SuppressBlank`,
//! `SuppressTokens` and `ApplyTimestampRules` leave. The logits are not looked at here.

use std::ops::Range;

use crate::decoding::vocabulary::Vocabulary;
use crate::dims::TIME_PRECISION_S;
use crate::error::{Error, Result};
use crate::options::{DecodingOptions, SuppressTokens};
use crate::ranking::{AllowedRuns, Constraint};

const NO_TIMESTAMPS: &str = "the model's vocabulary has no timestamps: it can only do without";

/// The filters of one window.
#[derive(Clone, Debug)]
pub struct LogitRules {
    /// What is left at the first sampled token.
    first: AllowedRuns,
    /// What is left everywhere else.
    later: AllowedRuns,
    /// The end of text alone: what is left once a row has all the text it may have.
    end: AllowedRuns,
    max_new_tokens: usize,
    n_vocab: usize,
    eot: usize,
    timestamps: Range<usize>,
    /// Whether timestamps are sampled by rule; without them they are tokens like any other.
    with_timestamps: bool,
    /// Last timestamp that may come first.
    max_initial: Option<usize>,
}

impl LogitRules {
    /// Reads the filters from a window's options.
    ///
    /// # Errors
    /// [`Error::Option`] where `suppress_tokens` names a token that the vocabulary lacks, or where
    /// timestamps are asked for and it has none.
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
        suppressed.extend_from_slice(&vocabulary.unused);
        let timestamps = vocabulary.timestamp_begin as usize..vocabulary.timestamp_end as usize;
        let with_timestamps = !options.without_timestamps;
        if with_timestamps {
            if timestamps.is_empty() {
                return Err(Error::Option {
                    option: "without_timestamps",
                    reason: NO_TIMESTAMPS.into(),
                });
            }
            suppressed.push(vocabulary.no_timestamps);
        }
        let later = AllowedRuns::new(vocabulary.n_vocab, &suppressed);
        if options.suppress_blank {
            suppressed.extend_from_slice(&vocabulary.blank);
            suppressed.push(vocabulary.eot);
        }
        Ok(Self {
            first: AllowedRuns::new(vocabulary.n_vocab, &suppressed),
            later,
            end: AllowedRuns::only([vocabulary.eot]),
            max_new_tokens: options.max_new_tokens.unwrap_or(usize::MAX),
            n_vocab: vocabulary.n_vocab,
            eot: vocabulary.eot as usize,
            timestamps,
            with_timestamps,
            max_initial: max_initial_index(options.max_initial_timestamp),
        })
    }

    /// What a row with these sampled tokens may choose from.
    pub fn constraint(&self, sampled: &[u32]) -> Constraint<'_> {
        if self.is_full(sampled) {
            return Constraint::plain(&self.end, self.n_vocab);
        }
        let allowed = if sampled.is_empty() {
            &self.first
        } else {
            &self.later
        };
        if !self.with_timestamps {
            return Constraint::plain(allowed, self.n_vocab);
        }
        let [text, timestamps, added] = self.timestamp_rules(sampled);
        Constraint {
            allowed,
            text,
            timestamps,
            added,
            forced: true,
        }
    }

    /// Whether a row has as many text tokens as were asked for. Where timestamps go by no rule, they count.
    fn is_full(&self, sampled: &[u32]) -> bool {
        if sampled.len() < self.max_new_tokens {
            return false;
        }
        let counts =
            |token: &&u32| !self.with_timestamps || !self.timestamps.contains(&(**token as usize));
        sampled.iter().filter(counts).count() >= self.max_new_tokens
    }

    /// openai's `ApplyTimestampRules`: timestamps come in pairs except before the end of text,
    /// never step back, and come first.
    fn timestamp_rules(&self, sampled: &[u32]) -> [Range<usize>; 3] {
        let is_timestamp = |token: &u32| self.timestamps.contains(&(*token as usize));
        let mut text = 0..self.timestamps.start;
        let mut timestamps = self.timestamps.clone();
        let mut added = self.timestamps.end..self.n_vocab;
        let last_was = sampled.last().is_some_and(is_timestamp);
        // Too short to have a token before the last counts as a pair already closed.
        let penultimate_was = sampled
            .len()
            .checked_sub(2)
            .is_none_or(|i| is_timestamp(&sampled[i]));
        match (last_was, penultimate_was) {
            (true, true) => timestamps.start = timestamps.end,
            (true, false) => (text.start, added.end) = (self.eot, added.start),
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
            (text, added) = (0..0, 0..0);
            if let Some(index) = self.max_initial {
                timestamps.end = timestamps
                    .end
                    .min(timestamps.start.saturating_add(index).saturating_add(1));
            }
        }
        [text, timestamps, added]
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
