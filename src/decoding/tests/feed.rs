//! Answers made from logits: how scripted logits drive decoding without a network.

use crate::decoding::rows::Step;
use crate::decoding::task::DecodingTask;
use crate::decoding::window::WindowDecoder;
use crate::ranking::{Answer, Query, Wanted, answer};

/// What is fed logits here.
pub trait Decoder {
    fn queries(&self) -> Vec<Query<'_>>;
    fn advance(&mut self, answers: &[Answer]) -> Step<'_>;

    /// Takes the prefill's logits at the start of the transcript and at the last position.
    fn start(&mut self, sot_logits: &[f32], last_logits: &[f32]) -> Step<'_> {
        let logits = |query: &Query<'_>| match query.want {
            Wanted::Probabilities(_) => sot_logits,
            _ => last_logits,
        };
        let queries = self.queries();
        let answers: Vec<_> = queries.iter().map(|q| answer(logits(q), q)).collect();
        self.advance(&answers)
    }

    /// Takes the logits, `(rows, n_vocab)`, of the rows that the last step named; rows that were not
    /// delivered have none.
    fn step(&mut self, logits: &[f32], n_vocab: usize) -> Step<'_> {
        let row = |i: usize| logits.get(i * n_vocab..(i + 1) * n_vocab).unwrap_or(&[]);
        let queries = self.queries();
        let answers: Vec<_> = queries.iter().map(|q| answer(row(q.row), q)).collect();
        self.advance(&answers)
    }
}

impl Decoder for DecodingTask {
    fn queries(&self) -> Vec<Query<'_>> {
        self.queries()
    }

    fn advance(&mut self, answers: &[Answer]) -> Step<'_> {
        self.advance(answers)
    }
}

impl Decoder for WindowDecoder {
    fn queries(&self) -> Vec<Query<'_>> {
        self.queries()
    }

    fn advance(&mut self, answers: &[Answer]) -> Step<'_> {
        self.advance(answers)
    }
}
