//! Passes over one row of logits: maxima, sums of exponentials, the best few.
//!
//! In: a row of `n_vocab` logits and which tokens may be chosen. Out: numbers to choose by. Only
//! finite logits are candidates, so NaN and infinities can neither win nor spread.

use std::ops::Range;

use super::Constraint;
use crate::kernels::{SimdLevel, rank};

/// The candidates of one kind, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Largest logit; negative infinity where there is no candidate.
    pub max: f32,
    /// Lowest token with that logit.
    pub argmax: usize,
    /// Sum of `exp(logit - max)`.
    pub sum_exp: f64,
}

impl Part {
    /// No candidate at all.
    pub const NONE: Part = Part {
        max: f32::NEG_INFINITY,
        argmax: usize::MAX,
        sum_exp: 0.0,
    };

    /// Logarithm of the summed exponentials; negative infinity where there is no candidate.
    pub fn log_sum_exp(&self) -> f64 {
        if self.sum_exp > 0.0 {
            f64::from(self.max) + self.sum_exp.ln()
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Both kinds taken as one; where the maxima are equal the lower token leads.
    pub fn join(self, later: Part) -> Part {
        let is_lower = later.max == self.max && later.argmax < self.argmax;
        let (lead, other) = if later.max > self.max || is_lower {
            (later, self)
        } else {
            (self, later)
        };
        let shift = f64::from(other.max) - f64::from(lead.max);
        let rest = if other.sum_exp > 0.0 {
            other.sum_exp * shift.exp()
        } else {
            0.0
        };
        Part {
            sum_exp: lead.sum_exp + rest,
            ..lead
        }
    }
}

/// What one row says about text and about timestamps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The text and special tokens, added ones among them.
    pub text: Part,
    /// The timestamp tokens.
    pub timestamps: Part,
}

/// Finds the maxima and sums of a row under a constraint.
pub fn summarize(logits: &[f32], constraint: &Constraint<'_>) -> Summary {
    let of = |span| part(logits, constraint.allowed, span);
    Summary {
        text: of(&constraint.text).join(of(&constraint.added)),
        timestamps: of(&constraint.timestamps),
    }
}

fn part(logits: &[f32], allowed: &[Range<usize>], span: &Range<usize>) -> Part {
    let level = SimdLevel::best();
    let mut part = Part::NONE;
    for (start, run) in runs(logits, allowed, span) {
        if let Some((offset, max)) = rank::largest(level, run)
            && max > part.max
        {
            let argmax = start + offset;
            part = Part {
                max,
                argmax,
                sum_exp: 0.0,
            };
        }
    }
    let sums = runs(logits, allowed, span).map(|(_, run)| rank::sum_exp(level, run, part.max, 1.0));
    part.sum_exp = sums.sum();
    part
}

/// The runs of a row that lie inside `span`, each with its first token.
pub fn runs<'a>(
    logits: &'a [f32],
    allowed: &'a [Range<usize>],
    span: &Range<usize>,
) -> impl Iterator<Item = (usize, &'a [f32])> + use<'a> {
    let span = span.start..span.end.min(logits.len());
    let first = allowed.partition_point(|run| run.end <= span.start);
    allowed[first..].iter().map_while(move |run| {
        let (start, end) = (run.start.max(span.start), run.end.min(span.end));
        (start < end).then(|| (start, &logits[start..end]))
    })
}

/// Collects the `k` largest candidates of a span into `best`, which stays sorted: descending, and
/// among equals the lower token first.
pub fn top_k(
    logits: &[f32],
    allowed: &[Range<usize>],
    span: &Range<usize>,
    k: usize,
    best: &mut Vec<(u32, f32)>,
) {
    for (start, run) in runs(logits, allowed, span) {
        rank::top_k(SimdLevel::best(), run, start, k, best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::AllowedRuns;

    fn allowed_runs(n_vocab: usize, suppressed: &[u32]) -> AllowedRuns {
        AllowedRuns::new(n_vocab, suppressed)
    }

    #[test]
    fn a_summary_equals_the_plain_formula() {
        let logits: Vec<f32> = (0..200)
            .map(|i| ((i * 7919) % 211) as f32 * 0.13 - 9.0)
            .collect();
        let allowed = allowed_runs(200, &[3, 64, 65, 150]);
        let constraint = Constraint {
            allowed: &allowed,
            text: 2..140,
            timestamps: 141..190,
            added: 195..199,
            forced: false,
        };
        let summary = summarize(&logits, &constraint);
        let text: Vec<usize> = (2..140).chain(195..199).collect();
        for (part, span) in [
            (summary.text, text),
            (summary.timestamps, (141..190).collect()),
        ] {
            let left = |t: &usize| ![3, 64, 65, 150].contains(t);
            let tokens: Vec<usize> = span.into_iter().filter(left).collect();
            let best = tokens.iter().copied().fold(tokens[0], |best, t| {
                if logits[t] > logits[best] { t } else { best }
            });
            let sum: f64 = tokens.iter().map(|t| f64::from(logits[*t]).exp()).sum();
            assert_eq!((part.argmax, part.max), (best, logits[best]));
            assert!((part.log_sum_exp() - sum.ln()).abs() < 1e-6);
        }
        let joined = summary.text.join(summary.timestamps);
        let sum = summary.text.log_sum_exp().exp() + summary.timestamps.log_sum_exp().exp();
        assert!((joined.log_sum_exp() - sum.ln()).abs() < 1e-9);
    }

    #[test]
    fn only_finite_logits_are_candidates() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let logits = [nan, inf, 1.0, -inf, 1.0, nan];
        let allowed = allowed_runs(6, &[]);
        let constraint = Constraint {
            allowed: &allowed,
            text: 0..6,
            timestamps: 6..6,
            added: 6..6,
            forced: false,
        };
        let summary = summarize(&logits, &constraint);
        assert_eq!(
            summary.text,
            Part {
                max: 1.0,
                argmax: 2,
                sum_exp: 2.0
            }
        );
        assert_eq!(summary.timestamps, Part::NONE);
        assert_eq!(summary.timestamps.join(Part::NONE), Part::NONE);
        let mut best = Vec::new();
        top_k(&logits, &allowed, &(0..6), 4, &mut best);
        assert_eq!(best, [(2, 1.0), (4, 1.0)]);
    }

    #[test]
    fn the_best_few_come_sorted_with_low_tokens_first() {
        let logits = [1.0, 5.0, 3.0, 5.0, 4.0, 3.0];
        let mut best = Vec::new();
        top_k(&logits, &allowed_runs(6, &[3]), &(0..6), 3, &mut best);
        assert_eq!(best, [(1, 5.0), (4, 4.0), (2, 3.0)]);
        top_k(&logits, &allowed_runs(6, &[]), &(3..4), 3, &mut best);
        assert_eq!(best, [(1, 5.0), (3, 5.0), (4, 4.0)]);
    }

    #[test]
    fn a_short_row_is_no_reason_to_panic() {
        let allowed = allowed_runs(100, &[2]);
        let constraint = Constraint {
            allowed: &allowed,
            text: 0..50,
            timestamps: 50..100,
            added: 0..0,
            forced: false,
        };
        let summary = summarize(&[1.0, 2.0], &constraint);
        assert_eq!((summary.text.argmax, summary.timestamps), (1, Part::NONE));
    }
}
