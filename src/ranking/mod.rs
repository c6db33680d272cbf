//! What a decoder step is asked about a row of logits, and what it answers.
//!
//! In: a row's logits and a [`Query`], its [`Constraint`] (the logit filters of openai/whisper as runs and
//! ranges of tokens) with what is [`Wanted`]. Out: an [`Answer`], a few numbers. Ranking happens on the
//! executor's side of the seam, so that a GPU sends back tokens and not logits; this is its one
//! specification and its judge. On the CPU it is also what computes.
//!
//! Ties go to the lower token; only finite logits are candidates; sums of exponentials are taken in
//! double precision. A row's answer depends on its own logits and query alone.

mod bias;
mod distribution;
mod summary;
mod truncation;

use std::ops::{Deref, Range};
use std::sync::Arc;

pub use bias::{Bias, Gains, PhraseTokens};
pub use distribution::{Distribution, filled_up};
pub use truncation::Truncation;

/// Runs of tokens that are not suppressed, ascending. Cheap to clone; a clone is the same table, so an
/// executor may keep a copy of it on its device ([`AllowedRuns::id`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRuns(Arc<[Range<usize>]>);

impl AllowedRuns {
    /// The tokens below `n_vocab` that are left when some are suppressed.
    #[must_use]
    pub fn new(n_vocab: usize, suppressed: &[u32]) -> Self {
        let mut suppressed: Vec<usize> = suppressed.iter().map(|t| *t as usize).collect();
        suppressed.sort_unstable();
        let mut runs = Vec::with_capacity(suppressed.len() + 1);
        let mut start = 0;
        for token in suppressed.into_iter().chain([n_vocab]) {
            let end = token.min(n_vocab);
            if start < end {
                runs.push(start..end);
            }
            start = start.max(end + 1);
        }
        Self(runs.into())
    }

    /// Only these tokens.
    #[must_use]
    pub fn only(tokens: impl IntoIterator<Item = u32>) -> Self {
        let mut tokens: Vec<usize> = tokens.into_iter().map(|token| token as usize).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Self(tokens.into_iter().map(|token| token..token + 1).collect())
    }

    /// The same for clones, another for tables that are alive at the same time.
    #[must_use]
    pub fn id(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl Deref for AllowedRuns {
    type Target = [Range<usize>];

    fn deref(&self) -> &[Range<usize>] {
        &self.0
    }
}

/// Which tokens may be chosen from a row.
#[derive(Clone, Debug)]
pub struct Constraint<'a> {
    /// What is not suppressed.
    pub allowed: &'a AllowedRuns,
    /// Text and special tokens that the timestamp rules leave; empty where they forbid all.
    pub text: Range<usize>,
    /// Timestamp tokens that the timestamp rules leave.
    pub timestamps: Range<usize>,
    /// What lies behind the timestamps and counts as text, where a fine-tune has added some.
    pub added: Range<usize>,
    /// Whether a timestamp is due where timestamps together are likelier than any one text token.
    pub forced: bool,
}

impl<'a> Constraint<'a> {
    /// Every token of `allowed`, none of them a timestamp.
    #[must_use]
    pub fn plain(allowed: &'a AllowedRuns, n_vocab: usize) -> Self {
        Self {
            allowed,
            text: 0..n_vocab,
            timestamps: n_vocab..n_vocab,
            added: n_vocab..n_vocab,
            forced: false,
        }
    }
}

/// What is wanted of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// The likeliest token: [`Answer::Choice`].
    Best,
    /// The `k` likeliest, descending: [`Answer::Choices`].
    BestK(usize),
    /// A token drawn from `softmax(logits / temperature)`, by inverting the cumulative distribution at
    /// `uniform` in 0..1: [`Answer::Choice`].
    Draw {
        /// Above 0.
        temperature: f64,
        /// The draw.
        uniform: f64,
    },
    /// The probabilities of these tokens: [`Answer::Probabilities`].
    Probabilities(&'a [u32]),
    /// The logits as they are: [`Answer::Logits`].
    Logits,
}

/// One question about one row of a step.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Which of the window's rows.
    pub row: usize,
    /// Which of the row's new tokens.
    pub at: usize,
    /// What may be chosen.
    pub constraint: Constraint<'a>,
    /// What is wanted.
    pub want: Wanted<'a>,
}

/// A token and its log-probability among those that the constraint leaves (at temperature 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
    /// What it adds to its row where rows are compared, beside the log-probability: 0 but for expected phrases.
    pub bonus: f32,
}

/// What a step says to a [`Query`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The best or the drawn token; `None` where nothing can be chosen.
    Choice(Option<Choice>),
    /// The best few, descending; filled up with the lowest other tokens at negative infinity where fewer
    /// can be chosen, as a full-width top-k has it.
    Choices(Vec<Choice>),
    /// A probability each, in single precision as the reference has it; NaN for a token without logit.
    Probabilities(Vec<f32>),
    /// `(n_vocab)`.
    Logits(Vec<f32>),
}

impl Answer {
    /// The one token that was wanted.
    #[must_use]
    pub fn choice(&self) -> Option<Choice> {
        match self {
            Self::Choice(choice) => *choice,
            _ => None,
        }
    }

    /// The few that were wanted.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        match self {
            Self::Choices(choices) => choices,
            _ => &[],
        }
    }

    /// The probabilities that were wanted.
    #[must_use]
    pub fn probabilities(&self) -> &[f32] {
        match self {
            Self::Probabilities(probabilities) => probabilities,
            _ => &[],
        }
    }

    /// The logits that were wanted, where they are.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        match self {
            Self::Logits(logits) => logits,
            _ => &[],
        }
    }

    /// The logits that were wanted.
    #[must_use]
    pub fn into_logits(self) -> Vec<f32> {
        match self {
            Self::Logits(logits) => logits,
            _ => Vec::new(),
        }
    }
}

/// Answers a query from the row's logits, `(n_vocab)`. Fewer logits than that are no candidates.
#[must_use]
pub fn answer(logits: &[f32], query: &Query<'_>) -> Answer {
    if query.want == Wanted::Logits {
        return Answer::Logits(logits.to_vec());
    }
    let distribution = Distribution::new(logits, &query.constraint);
    let choice = |token: u32| Choice {
        token,
        logprob: distribution.logprob(token),
        bonus: 0.0,
    };
    match query.want {
        Wanted::Best => Answer::Choice(distribution.argmax().map(choice)),
        Wanted::BestK(k) => Answer::Choices(distribution.top_k(k)),
        Wanted::Draw {
            temperature,
            uniform,
        } => Answer::Choice(distribution.draw(temperature, uniform).map(choice)),
        Wanted::Probabilities(tokens) => Answer::Probabilities(
            tokens
                .iter()
                .map(|token| distribution.probability(*token))
                .collect(),
        ),
        Wanted::Logits => Answer::Logits(logits.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_what_is_suppressed() {
        type Runs = &'static [(usize, usize)];
        let cases: [(&[u32], Runs); 5] = [
            (&[], &[(0, 10)]),
            (&[0, 9], &[(1, 9)]),
            (&[5, 4, 5, 7], &[(0, 4), (6, 7), (8, 10)]),
            (&[12], &[(0, 10)]),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[]),
        ];
        for (suppressed, expected) in cases {
            let runs = AllowedRuns::new(10, suppressed);
            let runs: Vec<_> = runs.iter().map(|run| (run.start, run.end)).collect();
            assert_eq!(runs, expected, "{suppressed:?}");
        }
    }

    #[test]
    fn tables_know_their_copies() {
        let table = AllowedRuns::only([5, 3, 5]);
        assert_eq!(&*table, [3..4, 5..6]);
        assert_eq!(table.id(), table.clone().id());
        assert_ne!(table.id(), AllowedRuns::only([3, 5]).id());
    }

    #[test]
    fn every_want_has_its_answer() {
        let logits = [1.0f32, 3.0, 2.0, 4.0];
        let allowed = AllowedRuns::new(4, &[3]);
        let ask = |want| {
            let constraint = Constraint::plain(&allowed, 4);
            answer(
                &logits,
                &Query {
                    row: 0,
                    at: 0,
                    constraint,
                    want,
                },
            )
        };
        let sum: f64 = [1.0f64, 3.0, 2.0].iter().map(|x| x.exp()).sum();
        let near =
            |logprob: f32, logit: f64| (f64::from(logprob) - (logit - sum.ln())).abs() < 1e-6;
        let best = ask(Wanted::Best).choice().unwrap();
        assert!(best.token == 1 && near(best.logprob, 3.0), "{best:?}");
        let few = ask(Wanted::BestK(2));
        let few = few.choices();
        assert!(few[1].token == 2 && near(few[1].logprob, 2.0), "{few:?}");
        let draw = |uniform| {
            ask(Wanted::Draw {
                temperature: 1.0,
                uniform,
            })
            .choice()
            .unwrap()
        };
        assert_eq!((draw(0.0).token, draw(0.999_999).token), (0, 2));
        let given = ask(Wanted::Probabilities(&[1, 9]));
        assert!((f64::from(given.probabilities()[0]) - 3f64.exp() / sum).abs() < 1e-6);
        assert!(given.probabilities()[1].is_nan());
        assert_eq!(ask(Wanted::Logits).into_logits(), logits);
    }
}
