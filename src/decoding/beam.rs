//! Beam search with patience: openai/whisper's `BeamSearchDecoder`.
//!
//! Python dictionaries and stable sorts decide ties there; here candidates stand in the order in
//! which the dictionary would hold them. Two rows never hold the same tokens: the group starts as
//! one row, and each step keeps different continuations.

use std::cmp::Ordering;

use crate::decoding::ranker::Candidate;
use crate::decoding::rows::NextRow;
use crate::ranking::{Answer, Wanted};

/// A continuation of a row by one token.
#[derive(Clone, Copy, Debug)]
struct Continuation {
    row: usize,
    token: u32,
    sum_logprob: f32,
    bonus: f32,
}

impl Continuation {
    fn rank(&self) -> f32 {
        self.sum_logprob + self.bonus
    }
}

/// The live beams and the sequences that ended.
#[derive(Clone, Debug)]
pub struct BeamSearchDecoder {
    eot: u32,
    beam_size: usize,
    max_candidates: usize,
    rows: Vec<Candidate>,
    finished: Vec<Candidate>,
    next: Vec<NextRow>,
    continuations: Vec<Continuation>,
}

impl BeamSearchDecoder {
    /// A search that ends after `max_candidates` sequences have.
    pub fn new(beam_size: usize, max_candidates: usize, eot: u32) -> Self {
        Self {
            eot,
            beam_size,
            max_candidates,
            rows: vec![Candidate::default()],
            finished: Vec::new(),
            next: Vec::with_capacity(beam_size),
            continuations: Vec::new(),
        }
    }

    /// What each beam has sampled, and how many continuations of it are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = (&[u32], Wanted<'static>)> {
        let wanted = Wanted::BestK(self.beam_size + 1);
        self.rows
            .iter()
            .map(move |row| (row.tokens.as_slice(), wanted))
    }

    /// Moves every beam on by one token; true when enough sequences have ended.
    pub fn update(&mut self, answers: &[Answer]) -> bool {
        self.continue_rows(answers);
        let newly_finished = self.keep_best();
        let room = self.max_candidates.saturating_sub(self.finished.len());
        self.finished.extend(newly_finished.into_iter().take(room));
        // Rows at negative infinity stay there: no step can bring anything more.
        let hopeless = self
            .rows
            .iter()
            .all(|row| row.sum_logprob == f32::NEG_INFINITY);
        hopeless || self.finished.len() >= self.max_candidates
    }

    /// Collects the best continuations of all rows, best first; equals keep their order.
    fn continue_rows(&mut self, answers: &[Answer]) {
        self.continuations.clear();
        for (index, (row, answer)) in self.rows.iter().zip(answers).enumerate() {
            let continued = answer.choices().iter().map(|choice| Continuation {
                row: index,
                token: choice.token,
                sum_logprob: row.sum_logprob + choice.logprob,
                bonus: row.bonus + choice.bonus,
            });
            self.continuations.extend(continued);
        }
        self.continuations
            .sort_by(|a, b| descending(a.rank(), b.rank()));
    }

    /// Keeps the `beam_size` best that go on; gives back the ended ones that rank among them.
    fn keep_best(&mut self) -> Vec<Candidate> {
        self.next.clear();
        let mut kept = Vec::with_capacity(self.beam_size);
        let mut ended = Vec::new();
        for continuation in self.continuations.iter().copied() {
            let Continuation { row, token, .. } = continuation;
            let mut continued = Candidate {
                tokens: self.rows[row].tokens.clone(),
                sum_logprob: continuation.sum_logprob,
                bonus: continuation.bonus,
            };
            if token == self.eot {
                ended.push(continued);
                continue;
            }
            continued.tokens.push(token);
            kept.push(continued);
            self.next.push(NextRow { parent: row, token });
            if kept.len() == self.beam_size {
                break;
            }
        }
        self.rows = kept;
        ended
    }

    /// The rows to run next: always `beam_size`.
    pub fn next(&self) -> &[NextRow] {
        &self.next
    }

    /// The ended sequences, filled up with the best live ones to `beam_size`.
    pub fn finalize(mut self) -> Vec<Candidate> {
        let missing = self.beam_size.saturating_sub(self.finished.len());
        // Ascending and read backwards, so that among equals the last row comes first.
        self.rows.sort_by(|a, b| descending(b.rank(), a.rank()));
        self.finished
            .extend(self.rows.into_iter().rev().take(missing));
        self.finished
    }
}

fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}
