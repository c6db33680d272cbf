//! How tokens are drawn: vLLM's sampling parameters.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What vLLM's sampling parameters ask beyond a temperature; as they stand by default they change nothing,
/// and cost nothing.
///
/// Penalties are filters: they change the logits of text tokens, at every temperature, before anything is
/// chosen, and log-probabilities are taken behind them. Special tokens and timestamps are never penalised: a
/// segment that opens where the last one closed repeats nothing. `top_k`, `top_p` and `min_p` narrow what is
/// drawn from above temperature 0, in the order `min_p`, `top_k`, `top_p`, and leave log-probabilities alone.
/// With one of them in force every row's logits are copied and looked through once more, which is 0.1 to 1 ms
/// a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Draw among this many of the likeliest tokens; 0 and -1 are all.
    pub top_k: i64,
    /// Draw among the fewest likeliest tokens that together have this probability; 1 is all.
    pub top_p: f64,
    /// Draw among tokens with at least this share of the likeliest one's probability; 0 is all.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens that the prompt, earlier text included, or
    /// the window's own text has; 1 is none.
    pub repetition_penalty: f64,
    /// Taken off a token's logit for each time that the window's own text has it.
    pub frequency_penalty: f64,
    /// Taken off a token's logit once if the window's own text has it.
    pub presence_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
        }
    }
}

impl Sampling {
    pub(super) fn validate(&self) -> Result<()> {
        if self.top_k < -1 {
            return Err(Error::Option {
                option: "top_k",
                reason: "must be 0 or -1 (all tokens), or at least 1".into(),
            });
        }
        let repetition = self.repetition_penalty;
        let penalty = -2.0..=2.0;
        let rules = [
            (
                "top_p",
                self.top_p > 0.0 && self.top_p <= 1.0,
                "must be above 0 and at most 1",
            ),
            (
                "min_p",
                (0.0..=1.0).contains(&self.min_p),
                "must be between 0 and 1",
            ),
            (
                "repetition_penalty",
                repetition > 0.0 && repetition.is_finite(),
                "must be above 0",
            ),
            (
                "frequency_penalty",
                penalty.contains(&self.frequency_penalty),
                "must be between -2 and 2",
            ),
            (
                "presence_penalty",
                penalty.contains(&self.presence_penalty),
                "must be between -2 and 2",
            ),
        ];
        match rules.iter().find(|(_, holds, _)| !holds) {
            Some((option, _, reason)) => Err(Error::Option {
                option,
                reason: (*reason).into(),
            }),
            None => Ok(()),
        }
    }
}
