//! Draws from the likeliest tokens alone: min-p, top-k and top-p (nucleus sampling, arXiv 1904.09751).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Distribution;

/// How far down the ranking a draw may go. The limits hold one after the other, each for what the one before
/// has left, as in vLLM; the likeliest token always stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truncation {
    /// Least share of the likeliest token's probability; 0 is no limit.
    pub min_p: f64,
    /// Most tokens; `None` is no limit.
    pub top_k: Option<usize>,
    /// Probability that the fewest likeliest tokens have together; 1 is no limit.
    pub top_p: f64,
}

impl Truncation {
    /// Nothing is left out.
    pub const NONE: Self = Self {
        min_p: 0.0,
        top_k: None,
        top_p: 1.0,
    };

    /// The tokens that are left at a temperature, likeliest first, with weights in proportion to their
    /// probabilities. Among equals the lower token comes first.
    fn kept(&self, distribution: &Distribution<'_>, temperature: f64) -> Vec<Weighted> {
        let candidates = || {
            distribution
                .runs()
                .flat_map(|(start, run)| (start..).zip(run))
        };
        let finite = || candidates().filter(|(_, logit)| logit.is_finite());
        let max = finite().fold(f32::NEG_INFINITY, |max, (_, logit)| max.max(*logit));
        let weighted = |(token, logit): (usize, &f32)| Weighted {
            token: token as u32,
            weight: weight(*logit, max, temperature),
        };
        let likely = |candidate: &Weighted| candidate.weight >= self.min_p;
        let mut left: BinaryHeap<Weighted> = finite().map(weighted).filter(likely).collect();
        let mut total: f64 = left.iter().map(|candidate| candidate.weight).sum();
        if let Some(k) = self.top_k.filter(|k| *k < left.len()) {
            let best: Vec<Weighted> = std::iter::from_fn(|| left.pop()).take(k).collect();
            total = best.iter().map(|candidate| candidate.weight).sum();
            left = best.into();
        }
        let (mut kept, mut sum) = (Vec::new(), 0.0);
        while let Some(candidate) = left.pop() {
            // A token is in the nucleus while those before it do not have its probability yet.
            if !kept.is_empty() && self.top_p < 1.0 && sum >= self.top_p * total {
                break;
            }
            sum += candidate.weight;
            kept.push(candidate);
        }
        kept
    }

    /// A token drawn from what is left of `softmax(logits / temperature)`, by inverting the cumulative
    /// distribution, likeliest first, at `uniform`; `None` where nothing can be drawn.
    #[must_use]
    pub fn draw(
        &self,
        distribution: &Distribution<'_>,
        temperature: f64,
        uniform: f64,
    ) -> Option<u32> {
        let kept = self.kept(distribution, temperature);
        let target = uniform * kept.iter().map(|candidate| candidate.weight).sum::<f64>();
        let mut cumulative = 0.0;
        let drawn = kept.iter().find(|candidate| {
            cumulative += candidate.weight;
            cumulative > target
        });
        drawn.or(kept.first()).map(|candidate| candidate.token)
    }
}

/// `exp((logit - max) / temperature)`; a difference of 0 stays 0 however cold it is.
fn weight(logit: f32, max: f32, temperature: f64) -> f64 {
    let below = f64::from(logit) - f64::from(max);
    if below == 0.0 {
        1.0
    } else {
        (below / temperature).exp()
    }
}

/// A token and its weight; the greatest is the likeliest, the lower token among equals.
#[derive(Clone, Copy, Debug)]
struct Weighted {
    token: u32,
    weight: f64,
}

impl Ord for Weighted {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_weight = self.weight.total_cmp(&other.weight);
        by_weight.then(other.token.cmp(&self.token))
    }
}

impl PartialOrd for Weighted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Weighted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Weighted {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::{AllowedRuns, Constraint};

    /// Probabilities 0.4, 0.1, 0.3, 0.2 at temperature 1, a suppressed token before them and one that is
    /// not finite behind.
    fn logits() -> Vec<f32> {
        let mut logits = vec![9.0];
        logits.extend([0.4f32, 0.1, 0.3, 0.2].map(f32::ln));
        logits.push(f32::NAN);
        logits
    }

    fn kept(truncation: Truncation, temperature: f64) -> Vec<u32> {
        let (logits, allowed) = (logits(), AllowedRuns::new(6, &[0]));
        let distribution = Distribution::new(&logits, &Constraint::plain(&allowed, 6));
        let kept = truncation.kept(&distribution, temperature);
        kept.iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn limits_hold_one_after_the_other() {
        // min_p, top_k, top_p, temperature, what is left.
        type Case<'a> = (f64, Option<usize>, f64, f64, &'a [u32]);
        let table: [Case; 13] = [
            (0.0, None, 1.0, 1.0, &[1, 3, 4, 2]),
            (0.0, Some(2), 1.0, 1.0, &[1, 3]),
            (0.0, Some(9), 1.0, 1.0, &[1, 3, 4, 2]),
            (0.0, None, 0.39, 1.0, &[1]),
            (0.0, None, 0.41, 1.0, &[1, 3]),
            (0.0, None, 0.71, 1.0, &[1, 3, 4]),
            // A tiny nucleus is the likeliest token.
            (0.0, None, 1e-12, 1.0, &[1]),
            (0.49, None, 1.0, 1.0, &[1, 3, 4]),
            (1.0, None, 1.0, 1.0, &[1]),
            // Of 0.4 and 0.3 the first has 0.571.
            (0.0, Some(2), 0.56, 1.0, &[1]),
            (0.0, Some(2), 0.58, 1.0, &[1, 3]),
            // Squared and scaled: 0.533, 0.300, 0.133, 0.033.
            (0.0, None, 0.53, 0.5, &[1]),
            (0.2, None, 1.0, 0.5, &[1, 3, 4]),
        ];
        for (min_p, top_k, top_p, temperature, expected) in table {
            let truncation = Truncation {
                min_p,
                top_k,
                top_p,
            };
            assert_eq!(kept(truncation, temperature), expected, "{truncation:?}");
        }
    }

    #[test]
    fn frequencies_follow_what_is_left() {
        let (logits, allowed) = (logits(), AllowedRuns::new(6, &[0]));
        let distribution = Distribution::new(&logits, &Constraint::plain(&allowed, 6));
        let three = Truncation {
            top_k: Some(3),
            ..Truncation::NONE
        };
        let mut counts = [0; 6];
        for i in 0..9000 {
            let drawn = three.draw(&distribution, 1.0, f64::from(i) / 9000.0);
            counts[drawn.unwrap() as usize] += 1;
        }
        for (token, count) in [(0, 0), (1, 4000), (2, 0), (3, 3000), (4, 2000), (5, 0)] {
            assert!(i32::abs(counts[token] - count) <= 1, "{counts:?}");
        }
        let nothing = AllowedRuns::new(6, &[0, 1, 2, 3, 4]);
        let distribution = Distribution::new(&logits, &Constraint::plain(&nothing, 6));
        assert_eq!(three.draw(&distribution, 1.0, 0.5), None);
    }

    #[test]
    fn equal_logits_and_cold_are_no_trouble() {
        let (logits, allowed) = ([2.0f32; 5], AllowedRuns::new(5, &[]));
        let distribution = Distribution::new(&logits, &Constraint::plain(&allowed, 5));
        let two = Truncation {
            top_k: Some(2),
            ..Truncation::NONE
        };
        for temperature in [1.0, f64::MIN_POSITIVE] {
            let kept = two.kept(&distribution, temperature);
            let tokens: Vec<u32> = kept.iter().map(|candidate| candidate.token).collect();
            assert_eq!(tokens, [0, 1]);
            assert_eq!(two.draw(&distribution, temperature, 0.75), Some(1));
        }
    }
}
