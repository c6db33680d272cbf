//! What an executor on a card is made of, whatever its numbers are: an encoder, a decoder, and their memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use super::tables::{Keep, Tables};
use crate::device::{Address, Card, Driver, Graph};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::kernels::Cpu;
use crate::model::{CardTimes, EncoderStages};
use crate::ranking::{self, Answer, Query};

/// Rounds of what is timed.
const ROUNDS: u32 = 20;

/// Where the pools are, and how many places they have.
#[derive(Clone, Copy)]
pub(super) struct Pools {
    pub audio: Address,
    pub windows: usize,
    pub text: Address,
    pub rows: usize,
}

/// The network's arithmetic on a card. One call at a time.
pub(super) trait Stack: Send {
    /// Encodes windows of log-mel, `(n_mels, frames)` each and all as long, into places of the audio pool. The card
    /// may still be computing when this returns.
    fn encode(&self, mels: &[&[f32]], slots: &[usize], cpu: &Cpu) -> Result<()>;

    /// The encoder's stages.
    fn stages(&self, mel: &[f32], cpu: &Cpu) -> Result<EncoderStages>;

    /// Runs rows through the decoder and answers the queries about them, in order.
    fn answer(&self, pass: Pass<'_>) -> Result<Vec<Answer>>;

    /// What the card takes for each stage of a window and a step like the last ones; nothing where they are not
    /// queued as one.
    fn card_times(&self) -> Result<Option<CardTimes>>;

    /// A head's softmax over a window's keys, `(tokens, positions)` at `to`, of the queries that a text has kept of
    /// the head's layer from `queries` on: row `rows[i]` is token `i`'s.
    fn cross_weights(&self, call: &Watched<'_>) -> Result<()>;
}

/// Rows that pass through the decoder together.
pub(super) struct Pass<'a> {
    pub tables: Tables,
    pub kept: &'a [Keep],
    /// Which row of the pass each query is about.
    pub queries: &'a [(usize, &'a Query<'a>)],
    /// Ranks what the card does not.
    pub cpu: &'a Cpu,
}

/// Answers queries from their rows' logits, which `row_of` finds. Ranking is shared among the threads.
pub(super) fn rank_here<'a>(
    cpu: &Cpu,
    queries: &[(usize, &Query<'_>)],
    row_of: &(dyn Fn(usize) -> &'a [f32] + Sync),
) -> Vec<Answer> {
    let mut answers = vec![Answer::Choice(None); queries.len()];
    cpu.pool().run_chunks(&mut answers, 1, |i, answer| {
        answer[0] = ranking::answer(row_of(i), queries[i].1);
    });
    answers
}

/// A head whose weights on a window are wanted.
pub(super) struct Watched<'a> {
    pub layer: usize,
    pub head: usize,
    pub slot: usize,
    pub positions: usize,
    pub queries: Address,
    pub rows: &'a [i32],
    pub to: Address,
}

/// Recorded work, by its shape; a shape that was met once is run as it is.
pub(super) struct Graphs<Shape>(RefCell<HashMap<Shape, Option<Graph>>>);

impl<Shape> Default for Graphs<Shape> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<Shape: Copy + Eq + Hash> Graphs<Shape> {
    /// Queues work that is the same whenever its shape is.
    pub fn run(
        &self,
        driver: &dyn Driver,
        shape: Shape,
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let known = self.0.borrow().get(&shape).copied();
        let graph = match known {
            // What is met for the first time may be met for the last.
            None => {
                work()?;
                self.0.borrow_mut().insert(shape, None);
                return Ok(());
            }
            Some(Some(graph)) => graph,
            Some(None) => {
                let graph = driver.record(work)?;
                self.0.borrow_mut().insert(shape, Some(graph));
                graph
            }
        };
        driver.replay(graph)
    }
}

/// Seconds of one round of `work`, as the card takes them where nothing waits for the host.
pub(super) fn repeated(card: &Card, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let driver = card.driver();
    let graph = driver.record(work)?;
    driver.replay(graph)?;
    driver.wait()?;
    let started = Instant::now();
    (0..ROUNDS).try_for_each(|_| driver.replay(graph))?;
    driver.wait()?;
    Ok(started.elapsed().as_secs_f64() / f64::from(ROUNDS))
}

/// Reads 32-bit floats.
pub(super) fn read(card: &Card, from: Address, floats: usize) -> Result<Vec<f32>> {
    let mut numbers = vec![0.0_f32; floats];
    if floats > 0 {
        let bytes = bytemuck::cast_slice_mut(&mut numbers);
        card.driver().read(from, bytes)?;
    }
    Ok(numbers)
}

/// Positions that a window of log-mel is encoded into.
pub(super) fn positions(dims: &ModelDimensions, mel: &[f32]) -> usize {
    mel.len() / dims.n_mels / crate::dims::INPUT_STRIDE
}
