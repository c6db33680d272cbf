//! What requests ask of sampling beyond openai/whisper's filters: vLLM's penalties and narrowed draws, and phrases
//! that are expected.
//!
//! In: a row's logits and what it has sampled. Out: the answer that ranking gives once the logits are
//! changed. It works on logits that have come back from the network, so it is the same on every executor;
//! windows that ask for nothing of it have none, and are ranked where their logits are made.

use std::collections::HashMap;
use std::ops::Range;

use crate::decoding::phrases::Expected;
use crate::decoding::vocabulary::Vocabulary;
use crate::options::{DecodingOptions, Sampling};
use crate::ranking::{Answer, Choice, Constraint, Distribution, Query, Truncation, Wanted, answer};

/// The penalties of one window at one temperature.
#[derive(Clone, Debug)]
pub struct Penalties {
    repetition: f32,
    frequency: f32,
    presence: f32,
    truncation: Truncation,
    /// The prompt's text tokens.
    prompt: Vec<u32>,
    eot: u32,
    /// Text that a fine-tune has added.
    added: Range<u32>,
    expected: Option<Expected>,
}

impl Penalties {
    /// What the options ask for; `None` where that changes nothing.
    pub fn new(options: &DecodingOptions, prompt: &[u32], vocabulary: &Vocabulary) -> Option<Self> {
        let mut asked = options.sampling;
        // Without draws there is nothing to narrow.
        if options.temperature == 0.0 {
            let none = Sampling::default();
            (asked.top_k, asked.top_p, asked.min_p) = (none.top_k, none.top_p, none.min_p);
        }
        let truncation = Truncation {
            min_p: asked.min_p,
            top_k: usize::try_from(asked.top_k).ok().filter(|k| *k > 0),
            top_p: asked.top_p,
        };
        let mut penalties = Self {
            repetition: asked.repetition_penalty as f32,
            frequency: asked.frequency_penalty as f32,
            presence: asked.presence_penalty as f32,
            truncation,
            prompt: Vec::new(),
            eot: vocabulary.eot,
            added: vocabulary.timestamp_end..vocabulary.n_vocab as u32,
            expected: None,
        };
        let text = prompt.iter().copied();
        penalties.prompt = text.filter(|token| penalties.is_text(*token)).collect();
        (penalties.change_logits() || truncation != Truncation::NONE).then_some(penalties)
    }

    /// Phrases that are expected and, of penalties, none.
    pub fn none_but(expected: Expected) -> Self {
        let none = Sampling::default();
        Self {
            repetition: none.repetition_penalty as f32,
            frequency: none.frequency_penalty as f32,
            presence: none.presence_penalty as f32,
            truncation: Truncation::NONE,
            prompt: Vec::new(),
            eot: 0,
            added: 0..0,
            expected: Some(expected),
        }
    }

    /// Also expects phrases.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = Some(expected);
    }

    fn change_logits(&self) -> bool {
        self.repetition != 1.0 || self.frequency != 0.0 || self.presence != 0.0
    }

    fn is_text(&self, token: u32) -> bool {
        token < self.eot || self.added.contains(&token)
    }

    /// What is wanted of a row, from its logits as the network gave them. None are no candidates.
    pub fn answer(
        &self,
        logits: &[f32],
        sampled: &[u32],
        constraint: Constraint<'_>,
        want: Wanted<'_>,
    ) -> Answer {
        let mut logits = logits.to_vec();
        self.penalise(&mut logits, sampled);
        let query = Query {
            row: 0,
            at: 0,
            constraint,
            want,
        };
        match &self.expected {
            None => self.choose(&logits, &query),
            Some(expected) => expected.answer(&logits, sampled, &query, |logits, query| {
                self.choose(logits, query)
            }),
        }
    }

    /// The choice, drawn from the narrowed distribution where that is asked for.
    fn choose(&self, logits: &[f32], query: &Query<'_>) -> Answer {
        match query.want {
            Wanted::Draw {
                temperature,
                uniform,
            } if self.truncation != Truncation::NONE => {
                let distribution = Distribution::new(logits, &query.constraint);
                let drawn = self.truncation.draw(&distribution, temperature, uniform);
                Answer::Choice(drawn.map(|token| Choice {
                    token,
                    logprob: distribution.logprob(token),
                    bonus: 0.0,
                }))
            }
            _ => answer(logits, query),
        }
    }

    /// Repetition counts what the prompt and the text have, frequency and presence the text alone; in this
    /// order, as in vLLM.
    fn penalise(&self, logits: &mut [f32], sampled: &[u32]) {
        if !self.change_logits() {
            return;
        }
        let mut counts: HashMap<u32, f32> = self.prompt.iter().map(|token| (*token, 0.0)).collect();
        for token in sampled.iter().filter(|token| self.is_text(**token)) {
            *counts.entry(*token).or_default() += 1.0;
        }
        for (token, count) in counts {
            let logit = logits.get_mut(token as usize);
            if let Some(logit) = logit.filter(|logit| logit.is_finite()) {
                let repeated = if *logit > 0.0 {
                    *logit / self.repetition
                } else {
                    *logit * self.repetition
                };
                let presence = if count > 0.0 { self.presence } else { 0.0 };
                let penalised = repeated - self.frequency * count - presence;
                // However hard the penalty: an infinity would be no candidate at all.
                *logit = penalised.clamp(f32::MIN, f32::MAX);
            }
        }
    }
}
