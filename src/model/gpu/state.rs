//! What belongs to a window while it is decoded: places in the pools, and which of them a beam's past is in.

use std::sync::Arc;

use bytemuck::NoUninit;

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

/// Where a position of a text is: `place`, in positions of the text pool, belongs at `at` of the table of places,
/// `(places of the pool, context)`, which has a row for each beam's own place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, NoUninit)]
pub(super) struct Change {
    pub at: u32,
    pub place: u32,
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
    /// Positions of each beam that the card's table of places has as `lineage` has them.
    told: Vec<usize>,
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
            told: vec![0; beams.max(1)],
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

    /// Which row of the table of places is a beam's.
    pub fn table(&self, beam: usize) -> usize {
        self.slots[beam].index
    }

    /// What the card's table of places must still be told of what a beam has seen.
    pub fn untold(&self, beam: usize) -> impl Iterator<Item = Change> + '_ {
        let first = self.table(beam) * self.context;
        (self.told[beam]..self.len).map(move |position| Change {
            at: (first + position) as u32,
            place: self.place(beam, position) as u32,
        })
    }

    /// A step of `rows` rows is done: each has seen `new` tokens more, and the card knows where all of them are.
    pub fn advance(&mut self, rows: usize, new: usize) {
        self.len += new;
        self.told[..rows].fill(self.len);
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

    /// Gives its places back: others may need them first.
    fn reset(&mut self, beams: usize) {
        self.slots.clear();
        if self.lineage.beams() == beams.max(1) {
            self.lineage.reset();
        } else {
            self.lineage = Lineage::new(beams, self.context);
        }
        self.len = 0;
        self.told.clear();
        self.told.resize(self.lineage.beams(), 0);
        self.watched.clear();
        self.queries = None;
    }

    fn reorder(&mut self, parents: &[usize]) {
        let moved = |(beam, parent): &(usize, &usize)| beam != *parent;
        for (beam, &parent) in parents.iter().enumerate().filter(moved) {
            let (own, next) = (self.lineage.history(beam), self.lineage.history(parent));
            let alike = own.iter().zip(next).take_while(|(own, next)| own == next);
            self.told[beam] = self.told[beam].min(alike.count());
        }
        self.lineage.reorder(parents);
    }

    /// What lies behind is written over by the next tokens.
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.told.iter_mut().for_each(|told| *told = len.min(*told));
    }

    fn watch(&mut self, heads: &[(usize, usize)]) {
        self.watched = heads.to_vec();
    }
}
