//! Which of several sequences wins: openai/whisper's `MaximumLikelihoodRanker`.

use crate::options::DecodingOptions;

/// A sequence of sampled tokens, end of text left out, and its summed log-probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The sampled tokens.
    pub tokens: Vec<u32>,
    /// Summed in single precision, as the reference does; the end of text counts too.
    pub sum_logprob: f32,
    /// What expected phrases add where sequences are compared; 0 without.
    pub bonus: f32,
}

impl Candidate {
    /// What sequences are compared by.
    pub fn rank(&self) -> f32 {
        self.sum_logprob + self.bonus
    }
}

/// What a candidate's length does to its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LengthPenalty {
    /// Divides by the length: openai/whisper's default.
    Mean,
    /// Divides by `((5 + length) / 6)^α`: Google NMT's (arXiv 1609.08144, equation 14), openai's with a value.
    Google(f64),
    /// Divides by `(prompt + length)^exponent`: vLLM's.
    Power {
        /// How much length counts.
        exponent: f64,
        /// Tokens of the prompt.
        prompt: usize,
    },
}

impl LengthPenalty {
    /// What a window's options say.
    pub fn new(options: &DecodingOptions, prompt: usize) -> Self {
        match (options.length_exponent, options.length_penalty) {
            (Some(exponent), _) => Self::Power { exponent, prompt },
            (None, Some(alpha)) => Self::Google(alpha),
            (None, None) => Self::Mean,
        }
    }

    fn of(self, length: usize) -> f64 {
        match self {
            Self::Mean => length as f64,
            Self::Google(alpha) => ((5.0 + length as f64) / 6.0).powf(alpha),
            Self::Power { exponent, prompt } => ((prompt + length) as f64).powf(exponent),
        }
    }
}

/// The candidate with the best score, the first among equals; `None` where there is none.
pub fn best(candidates: Vec<Candidate>, penalty: LengthPenalty) -> Option<Candidate> {
    let mut best: Option<(f64, Candidate)> = None;
    for candidate in candidates {
        let score = score(&candidate, penalty);
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Log-probability over what the length amounts to. An empty sequence has no mean and loses to any other.
fn score(candidate: &Candidate, penalty: LengthPenalty) -> f64 {
    let penalty = penalty.of(candidate.tokens.len());
    let score = f64::from(candidate.rank()) / penalty;
    if score.is_finite() {
        score
    } else {
        f64::NEG_INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(length: usize, sum_logprob: f32) -> Candidate {
        Candidate {
            tokens: vec![7; length],
            sum_logprob,
            bonus: 0.0,
        }
    }

    #[test]
    fn the_penalty_decides_between_short_and_long() {
        let google = |alpha| LengthPenalty::Google(alpha);
        let power = |exponent| LengthPenalty::Power {
            exponent,
            prompt: 4,
        };
        let mean = LengthPenalty::Mean;
        // (length, sum) of each candidate, penalty, winner. Scores beside the rows.
        let cases = [
            (vec![(2, -2.0), (4, -3.0)], mean, 1),         // -1 < -0.75
            (vec![(2, -2.0), (4, -3.0)], google(0.0), 0),  // -2 > -3
            (vec![(1, -2.0), (13, -5.9)], google(1.0), 1), // -2 < -1.967
            (vec![(1, -2.0), (13, -6.1)], google(1.0), 0), // -2 > -2.033
            (vec![(1, -2.0), (19, -4.1)], google(0.5), 0), // -2 > -2.05
            (vec![(1, -2.0), (19, -3.9)], google(0.5), 1), // -2 < -1.95
            (vec![(2, -2.0), (3, -3.0)], mean, 0),         // equal: the first
            (vec![(0, -0.1), (3, -9.0)], mean, 1),         // nothing to divide by
            (vec![(0, 0.0), (0, -1.0)], mean, 0),
            (vec![(2, f32::NEG_INFINITY), (2, -50.0)], mean, 1),
            (vec![(2, f32::NAN), (2, -50.0)], mean, 1),
            (vec![(2, -2.0), (8, -3.9)], power(1.0), 1), // -0.333 < -0.325
            (vec![(2, -2.0), (8, -4.1)], power(1.0), 0), // -0.333 > -0.342
            (vec![(2, -2.0), (8, -3.9)], power(0.0), 0),
            (vec![(2, -2.0), (8, -50.0)], power(9.0), 1),
        ];
        for (candidates, penalty, winner) in cases {
            let made: Vec<Candidate> = candidates.iter().map(|(n, s)| candidate(*n, *s)).collect();
            let expected = made[winner].clone();
            assert_eq!(
                best(made, penalty),
                Some(expected),
                "{candidates:?} {penalty:?}"
            );
        }
        assert_eq!(best(Vec::new(), mean), None);
    }
}
