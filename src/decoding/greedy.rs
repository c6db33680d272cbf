//! Taking the best token or drawing one, row by row: openai/whisper's `GreedyDecoder`.

use crate::decoding::ranker::Candidate;
use crate::decoding::rows::{NextRow, RowLogits};
use crate::decoding::rules::LogitRules;
use crate::decoding::sampling::{Draws, sample};

/// Independent rows at one temperature. A row that reached the end of text leaves the batch.
#[derive(Clone, Debug)]
pub struct GreedyDecoder {
    eot: u32,
    temperature: f64,
    draws: Draws,
    rows: Vec<Candidate>,
    /// Rows in the batch, as indices into `rows`.
    live: Vec<usize>,
    next: Vec<NextRow>,
}

impl GreedyDecoder {
    /// `group` rows that have sampled nothing yet.
    pub fn new(group: usize, eot: u32, temperature: f64, seed: u64) -> Self {
        Self {
            eot,
            temperature,
            draws: Draws::new(seed, temperature),
            rows: vec![Candidate::default(); group],
            live: (0..group).collect(),
            next: Vec::with_capacity(group),
        }
    }

    /// Takes one token for every live row; true when all have ended.
    pub fn update(&mut self, rules: &LogitRules, logits: RowLogits<'_>) -> bool {
        self.next.clear();
        let mut kept = 0;
        for place in 0..self.live.len() {
            let index = self.live[place];
            let (token, logprob) = self.choose(rules, logits.row(place), index);
            let row = &mut self.rows[index];
            row.sum_logprob += logprob;
            if token != self.eot {
                row.tokens.push(token);
                let parent = if logits.is_shared() { 0 } else { place };
                self.next.push(NextRow { parent, token });
                self.live[kept] = index;
                kept += 1;
            }
        }
        self.live.truncate(kept);
        self.live.is_empty()
    }

    /// A row that nothing can be sampled for has failed: it ends with an impossible probability.
    fn choose(&self, rules: &LogitRules, logits: &[f32], index: usize) -> (u32, f32) {
        let sampled = &self.rows[index].tokens;
        let distribution = rules.apply(logits, sampled);
        let token = if self.temperature > 0.0 {
            let uniform = self.draws.uniform(index, sampled.len());
            sample(&distribution, self.temperature, uniform)
        } else {
            distribution.argmax()
        };
        match token {
            Some(token) => (token, distribution.logprob(token)),
            None => (self.eot, f32::NEG_INFINITY),
        }
    }

    /// The rows to run next.
    pub fn next(&self) -> &[NextRow] {
        &self.next
    }

    /// All rows as they stand.
    pub fn finalize(self) -> Vec<Candidate> {
        self.rows
    }
}
