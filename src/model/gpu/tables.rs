//! What the rows of one pass through the decoder are, as the kernels are told it.

use super::state::{GpuAudio, GpuText};
use crate::device::Address;
use crate::error::Result;
use crate::model::StepWindow;

/// Rows that one pass through the stack takes; a step of more takes several.
pub(super) const MOST_ROWS: usize = 256;

/// A row of a step: one token of one beam.
pub(super) struct Row {
    pub window: usize,
    pub beam: usize,
    pub token: u32,
    pub position: usize,
}

/// A number a row, unless said otherwise.
#[derive(Default)]
pub(super) struct Tables {
    pub tokens: Vec<i32>,
    pub positions: Vec<i32>,
    /// Where the row's keys and values go, in positions of the text pool.
    pub stores: Vec<i32>,
    /// Positions of text that the row sees, its own included.
    pub seen: Vec<i32>,
    /// Positions of audio.
    pub heard: Vec<i32>,
    /// Which place of the audio pool has the row's audio.
    pub audio: Vec<i32>,
    /// Rows that are asked about.
    pub asked: Vec<i32>,
    /// Where each position that the row sees is, `(rows, context)`.
    pub places: Vec<i32>,
}

impl Tables {
    /// Of rows of these windows, none of them asked about yet.
    pub fn new(windows: &[StepWindow<'_>], rows: &[Row], context: usize) -> Result<Self> {
        let mut tables = Self {
            places: vec![0; rows.len() * context],
            ..Self::default()
        };
        for (row, places) in rows.iter().zip(tables.places.chunks_exact_mut(context)) {
            let window = &windows[row.window];
            let (audio, text): (&GpuAudio, &GpuText) =
                (window.audio.memory()?, window.text.memory()?);
            for (position, place) in places.iter_mut().enumerate().take(row.position + 1) {
                *place = text.place(row.beam, position);
            }
            tables.tokens.push(row.token as i32);
            tables.positions.push(row.position as i32);
            tables.stores.push(places[row.position]);
            tables.seen.push(row.position as i32 + 1);
            tables.heard.push(audio.positions as i32);
            tables.audio.push(audio.slot.index as i32);
        }
        Ok(tables)
    }

    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}

/// Queries that a text keeps of a pass: of `rows` rows from `row` on, and where the first one goes.
pub(super) struct Keep {
    pub layer: usize,
    pub row: usize,
    pub rows: usize,
    pub to: Address,
}
