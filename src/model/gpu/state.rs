//! What belongs to a window while it is decoded: places in the pools, and which of them a beam's past is in.

use std::sync::Arc;

use super::pools::{Pool, Slot};
use crate::device::Memory;
use crate::error::{Error, Result};
use crate::kernels::attention::Lineage;
use crate::model::TextMemory;

/// A window's audio: its keys and values of every layer, in the audio pool.
pub(super) struct GpuAudio {
    pub slot: Slot,
    /// 0 before it was encoded.
    pub positions: usize,
}

/// A window's text: keys and values of every layer, a place of the text pool for each beam.
///
/// All beams are equally long. What they share is stored once: `lineage` says for each beam and position which
/// beam's place holds it.
pub(super) struct GpuText {
    pool: Pool,
    slots: Vec<Slot>,
    pub lineage: Lineage,
    pub len: usize,
    pub watched: Vec<(usize, usize)>,
    /// Queries of the layers that are watched, `(layers, beams × context, width)`.
    pub queries: Option<Arc<Memory>>,
    context: usize,
}

impl GpuText {
    /// An empty text; places are taken by its first step.
    pub fn new(pool: Pool, beams: usize, context: usize) -> Self {
        Self {
            pool,
            slots: Vec::new(),
            lineage: Lineage::new(beams, context),
            len: 0,
            watched: Vec::new(),
            queries: None,
            context,
        }
    }

    /// Takes places for this many rows.
    pub fn claim(&mut self, rows: usize) -> Result<()> {
        while self.slots.len() < rows {
            self.slots.push(self.pool.take()?);
        }
        Ok(())
    }

    /// Where `position` of a beam is, in positions of the pool.
    pub fn place(&self, beam: usize, position: usize) -> i32 {
        let row = usize::from(self.lineage.history(beam)[position]);
        (self.slots[row].index * self.context + position) as i32
    }

    /// Where `position` of a row is among the queries that are kept.
    pub fn kept(&self, row: usize, position: usize) -> usize {
        row * self.context + position
    }

    /// The layers that are watched, each once.
    pub fn watched_layers(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = self.watched.iter().map(|(layer, _)| *layer).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    /// Whether a step of `rows` rows of `new` tokens fits.
    pub fn check(&self, rows: usize, new: usize) -> Result<()> {
        let (len, most, beams) = (self.len + new, self.context, self.lineage.beams());
        if len > most {
            let reason = format!("a text of {len} tokens, of at most {most}");
            return Err(Error::Engine(reason));
        }
        if rows > beams {
            let reason = format!("{rows} rows of a text that has {beams}");
            return Err(Error::Engine(reason));
        }
        Ok(())
    }
}

impl TextMemory for GpuText {
    fn len(&self) -> usize {
        self.len
    }

    fn reset(&mut self, beams: usize) {
        self.slots.truncate(beams.max(1));
        if self.lineage.beams() == beams.max(1) {
            self.lineage.reset();
        } else {
            self.lineage = Lineage::new(beams, self.context);
        }
        self.len = 0;
        self.watched.clear();
        self.queries = None;
    }

    fn reorder(&mut self, parents: &[usize]) {
        self.lineage.reorder(parents);
    }

    /// What lies behind is written over by the next tokens.
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn watch(&mut self, heads: &[(usize, usize)]) {
        self.watched = heads.to_vec();
    }
}
