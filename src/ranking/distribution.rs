//! What a row may choose from: log-softmax of the logits that a constraint leaves.

use std::ops::Range;

use super::summary::{Part, runs, summarize, top_k};
use super::{Choice, Constraint};
use crate::kernels::{SimdLevel, rank};

/// Logits that are passed over together where a draw is not among them.
const BLOCK: usize = 512;

/// A row's logits under a constraint. The logits stay untouched.
#[derive(Clone, Debug)]
pub struct Distribution<'a> {
    logits: &'a [f32],
    allowed: &'a [Range<usize>],
    /// Text, timestamps, added text.
    spans: [Range<usize>; 3],
    all: Part,
}

impl<'a> Distribution<'a> {
    /// The distribution that a row chooses from.
    #[must_use]
    pub fn new(logits: &'a [f32], constraint: &Constraint<'a>) -> Self {
        let summary = summarize(logits, constraint);
        let (mut text, mut added) = (constraint.text.clone(), constraint.added.clone());
        // Where timestamps together are likelier than any one text token, a timestamp it is.
        let forced =
            constraint.forced && summary.timestamps.log_sum_exp() > f64::from(summary.text.max);
        let all = if forced {
            (text, added) = (0..0, 0..0);
            summary.timestamps
        } else {
            summary.text.join(summary.timestamps)
        };
        Self {
            logits,
            allowed: constraint.allowed,
            spans: [text, constraint.timestamps.clone(), added],
            all,
        }
    }

    /// The constraint that this distribution was made by, with the rule about timestamps that are due carried out.
    #[must_use]
    pub fn settled<'c>(&self, constraint: &Constraint<'c>) -> Constraint<'c> {
        let [text, timestamps, added] = self.spans.clone();
        Constraint {
            allowed: constraint.allowed,
            text,
            timestamps,
            added,
            forced: false,
        }
    }

    /// The likeliest token, the lowest among equals; `None` where nothing can be chosen.
    #[must_use]
    pub fn argmax(&self) -> Option<u32> {
        (self.all.sum_exp > 0.0).then_some(self.all.argmax as u32)
    }

    fn log_softmax(&self, logit: f32) -> f32 {
        (logit - self.all.max) - self.all.sum_exp.ln() as f32
    }

    /// Log-probability of a token that may be chosen.
    #[must_use]
    pub fn logprob(&self, token: u32) -> f32 {
        self.logits
            .get(token as usize)
            .map_or(f32::NEG_INFINITY, |x| self.log_softmax(*x))
    }

    /// Softmax probability of a token, rounded once, from double precision.
    #[must_use]
    pub fn probability(&self, token: u32) -> f32 {
        let logit = self.logits.get(token as usize).copied();
        (f64::from(logit.unwrap_or(f32::NAN)) - self.all.log_sum_exp()).exp() as f32
    }

    /// The tokens that are left, as runs of logits with their first token.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &'a [f32])> + use<'a> {
        let [text, timestamps, added] = &self.spans;
        let of = |span| runs(self.logits, self.allowed, span);
        of(text).chain(of(timestamps)).chain(of(added))
    }

    /// The `k` best tokens, descending. Where fewer can be chosen, the lowest other tokens fill up at
    /// negative infinity, as a full-width top-k has it.
    #[must_use]
    pub fn top_k(&self, k: usize) -> Vec<Choice> {
        let mut best = Vec::with_capacity(k + 1);
        for span in &self.spans {
            top_k(self.logits, self.allowed, span, k, &mut best);
        }
        let ranked = |&(token, logit): &(u32, f32)| Choice {
            token,
            logprob: self.log_softmax(logit),
            bonus: 0.0,
        };
        filled_up(best.iter().map(ranked).collect(), k)
    }

    /// A token drawn from `softmax(logits / temperature)` by inverting the cumulative distribution at
    /// `uniform`; `None` where nothing can be drawn.
    #[must_use]
    pub fn draw(&self, temperature: f64, uniform: f64) -> Option<u32> {
        let mut chosen = self.argmax()?;
        let max = self.all.max;
        // However cold: a difference of 0 must stay 0 when it is scaled.
        let scale = (temperature.recip() as f32).min(f32::MAX);
        let level = SimdLevel::best();
        let blocks = || self.runs().flat_map(|(start, run)| blocks(start, run));
        let sums = blocks().map(|(_, block)| rank::sum_exp(level, block, max, scale));
        let target = uniform * sums.sum::<f64>();
        let mut cumulative = 0.0;
        for (start, block) in blocks() {
            let sum = rank::sum_exp(level, block, max, scale);
            if cumulative + sum <= target {
                cumulative += sum;
                continue;
            }
            let mut weights = [0.0; BLOCK];
            let weights = &mut weights[..block.len()];
            rank::exps(level, block, max, scale, weights);
            for (token, weight) in (start..).zip(weights) {
                if *weight > 0.0 {
                    cumulative += f64::from(*weight);
                    chosen = token as u32;
                    if cumulative > target {
                        return Some(chosen);
                    }
                }
            }
        }
        Some(chosen)
    }
}

fn blocks(start: usize, run: &[f32]) -> impl Iterator<Item = (usize, &[f32])> {
    let starts = (start..).step_by(BLOCK);
    starts.zip(run.chunks(BLOCK))
}

/// With the lowest other tokens at negative infinity, as a full-width top-k has it.
pub fn filled_up(mut best: Vec<Choice>, k: usize) -> Vec<Choice> {
    for token in 0.. {
        if best.len() >= k {
            break;
        }
        if best.iter().all(|other| other.token != token) {
            best.push(Choice {
                token,
                logprob: f32::NEG_INFINITY,
                bonus: 0.0,
            });
        }
    }
    best
}
