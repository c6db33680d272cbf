//! What the rows of one pass through the decoder are, as the kernels are told it.

use super::state::{Change, GpuAudio, GpuText};
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
    /// Which row of the table of places is the row's text's.
    pub texts: Vec<i32>,
    /// Where the row's keys and values go, in positions of the text pool: its own entry in the table of places.
    pub stores: Vec<i32>,
    /// Positions of text that the row sees, its own included.
    pub seen: Vec<i32>,
    /// Positions of audio.
    pub heard: Vec<i32>,
    /// Which place of the audio pool has the row's audio.
    pub audio: Vec<i32>,
    /// Rows that are asked about.
    pub asked: Vec<i32>,
    /// Other entries of the table of places that are not as they were.
    pub changes: Vec<Change>,
}

impl Tables {
    /// Of rows of these windows, none of them asked about yet.
    pub fn new(windows: &[StepWindow<'_>], rows: &[Row], changes: Vec<Change>) -> Result<Self> {
        let numbers = || Vec::with_capacity(rows.len());
        let mut tables = Self {
            tokens: numbers(),
            positions: numbers(),
            texts: numbers(),
            stores: numbers(),
            seen: numbers(),
            heard: numbers(),
            audio: numbers(),
            asked: Vec::new(),
            changes,
        };
        for row in rows {
            let window = &windows[row.window];
            let (audio, text): (&GpuAudio, &GpuText) =
                (window.audio.memory()?, window.text.memory()?);
            tables.tokens.push(row.token as i32);
            tables.positions.push(row.position as i32);
            tables.texts.push(text.table(row.beam) as i32);
            tables.stores.push(text.place(row.beam, row.position));
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
