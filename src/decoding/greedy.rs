//! Taking the best token or drawing one, row by row: openai/whisper's `GreedyDecoder`.

use crate::decoding::ranker::Candidate;
use crate::decoding::rows::{NextRow, Parents};
use crate::decoding::sampling::Draws;
use crate::ranking::{Answer, Choice, Wanted};

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

    /// What each live row has sampled, and how its next token is chosen.
    pub fn wanted(&self) -> impl Iterator<Item = (&[u32], Wanted<'static>)> {
        self.live.iter().map(|&index| {
            let sampled = self.rows[index].tokens.as_slice();
            let wanted = if self.temperature > 0.0 {
                Wanted::Draw {
                    temperature: self.temperature,
                    uniform: self.draws.uniform(index, sampled.len()),
                }
            } else {
                Wanted::Best
            };
            (sampled, wanted)
        })
    }

    /// What the row has sampled, where there is one alone and its best token is taken.
    pub fn only_greedy_row(&self) -> Option<&[u32]> {
        match &*self.rows {
            [row] if self.temperature == 0.0 && !self.live.is_empty() => Some(&row.tokens),
            _ => None,
        }
    }

    /// Takes one token for every live row, of which `parents` says where it was run; true when all have
    /// ended. A row that nothing could be chosen for has failed: it ends with an impossible probability.
    pub fn update(&mut self, answers: &[Answer], parents: Parents) -> bool {
        self.next.clear();
        let mut kept = 0;
        for place in 0..self.live.len() {
            let index = self.live[place];
            let choice = answers.get(place).and_then(Answer::choice);
            let Choice {
                token,
                logprob,
                bonus,
            } = choice.unwrap_or(Choice {
                token: self.eot,
                logprob: f32::NEG_INFINITY,
                bonus: 0.0,
            });
            let row = &mut self.rows[index];
            row.sum_logprob += logprob;
            row.bonus += bonus;
            if token != self.eot {
                row.tokens.push(token);
                let parent = parents.of(place);
                self.next.push(NextRow { parent, token });
                self.live[kept] = index;
                kept += 1;
            }
        }
        self.live.truncate(kept);
        self.live.is_empty()
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
