//! Which of several sequences wins: openai/whisper's `MaximumLikelihoodRanker`.

/// A sequence of sampled tokens, end of text left out, and its summed log-probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The sampled tokens.
    pub tokens: Vec<u32>,
    /// Summed in single precision, as the reference does; the end of text counts too.
    pub sum_logprob: f32,
}

/// The candidate with the best score, the first among equals; `None` where there is none.
pub fn best(candidates: Vec<Candidate>, length_penalty: Option<f64>) -> Option<Candidate> {
    let mut best: Option<(f64, Candidate)> = None;
    for candidate in candidates {
        let score = score(&candidate, length_penalty);
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Log-probability over the length, or over Google NMT's penalty (arXiv 1609.08144, equation 14).
/// An empty sequence has no length to divide by and loses to any other.
fn score(candidate: &Candidate, length_penalty: Option<f64>) -> f64 {
    let length = candidate.tokens.len() as f64;
    let penalty = match length_penalty {
        None => length,
        Some(alpha) => ((5.0 + length) / 6.0).powf(alpha),
    };
    let score = f64::from(candidate.sum_logprob) / penalty;
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
        }
    }

    #[test]
    fn the_penalty_decides_between_short_and_long() {
        // (length, sum) of each candidate, α, winner. Scores beside the rows.
        let cases = [
            (vec![(2, -2.0), (4, -3.0)], None, 1),       // -1 < -0.75
            (vec![(2, -2.0), (4, -3.0)], Some(0.0), 0),  // -2 > -3
            (vec![(1, -2.0), (13, -5.9)], Some(1.0), 1), // -2 < -1.967
            (vec![(1, -2.0), (13, -6.1)], Some(1.0), 0), // -2 > -2.033
            (vec![(1, -2.0), (19, -4.1)], Some(0.5), 0), // -2 > -2.05
            (vec![(1, -2.0), (19, -3.9)], Some(0.5), 1), // -2 < -1.95
            (vec![(2, -2.0), (3, -3.0)], None, 0),       // equal: the first
            (vec![(0, -0.1), (3, -9.0)], None, 1),       // nothing to divide by
            (vec![(0, 0.0), (0, -1.0)], None, 0),
            (vec![(2, f32::NEG_INFINITY), (2, -50.0)], None, 1),
            (vec![(2, f32::NAN), (2, -50.0)], None, 1),
        ];
        for (candidates, alpha, winner) in cases {
            let made: Vec<Candidate> = candidates.iter().map(|(n, s)| candidate(*n, *s)).collect();
            let expected = made[winner].clone();
            assert_eq!(
                best(made, alpha),
                Some(expected),
                "{candidates:?} {alpha:?}"
            );
        }
        assert_eq!(best(Vec::new(), None), None);
    }
}
