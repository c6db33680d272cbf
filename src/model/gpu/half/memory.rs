//! Memory that rows pass through, and what a pass is told, as the kernels read it.

use std::cell::Cell;

use bytemuck::Zeroable as _;

use super::kernels::{CROSS_PART, Group, Row};
use super::rank::{Ask, Asks, MOST_BEST, MOST_LISTED, PART};
use crate::device::{Address, Card, Memory};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::model::gpu::stack::Graphs;
use crate::model::gpu::tables::{MOST_ROWS, Tables};

/// Rows of a window that cross-attention takes together.
const GROUP: usize = 8;
/// Blocks of cross-attention that fill a card.
pub(super) const FULL: usize = 396;

/// Tokens that a pass's questions may list.
pub(super) const MOST_TOKENS: usize = 4096;
/// Bytes of what a pass is told of its rows, groups and questions.
const TOLD: usize = MOST_ROWS * (16 + 16 + 64);
/// Changes of the table of places that are told together.
pub(super) const MOST_CHANGES: usize = 16 << 10;

/// Memory that rows pass through, and the tables that say what they are.
pub(super) struct DecoderMemory {
    /// Rows, groups, questions, listed tokens.
    pub tables: Memory,
    /// Where the positions of each text are, `(places of the pool, context)`.
    pub places: Memory,
    /// What comes up and goes down each step, in memory that the host shares.
    pub told: Memory,
    pub said: Memory,
    pub probability: Memory,
    /// The last pass's.
    pub last: Cell<Shape>,
    /// Whether the card may still be reading what it was told.
    pub telling: Cell<bool>,
    pub x: Memory,
    pub normed: Memory,
    pub q: Memory,
    pub attended: Memory,
    pub hidden: Memory,
    pub parts: Memory,
    pub logits: Memory,
    pub ranked: Memory,
    pub few: Memory,
    pub graphs: Graphs<Shape>,
}

/// Numbers of rows, groups and questions that a pass is filled up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub rows: usize,
    pub groups: usize,
    pub asks: usize,
}

impl Shape {
    pub fn of(rows: usize, groups: usize, asks: usize) -> Self {
        let filled = |n: usize| if n == 0 { 0 } else { n.next_power_of_two() };
        Self {
            rows: filled(rows),
            groups: filled(groups),
            asks: filled(asks),
        }
    }
}

impl DecoderMemory {
    /// Bytes of each part.
    fn sizes(dims: &ModelDimensions) -> [usize; 10] {
        let width = dims.n_text_state;
        let ranked = MOST_ROWS * dims.n_vocab.div_ceil(PART) * 2;
        // As many blocks share the positions as fill the card, or each window has one.
        let blocks = 2 * FULL + MOST_ROWS * dims.n_text_head;
        [
            TOLD + 4 * MOST_TOKENS,
            4 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * 4 * width,
            4 * blocks * CROSS_PART,
            4 * MOST_ROWS * dims.n_vocab,
            16 * ranked,
            8 * ranked * 8 * MOST_BEST,
        ]
    }

    pub fn bytes(dims: &ModelDimensions) -> usize {
        Self::sizes(dims).iter().sum()
    }

    /// `rows`: places of the text pool.
    pub fn new(card: &Card, dims: &ModelDimensions, rows: usize) -> Result<Self> {
        let parts = Self::sizes(dims).map(|bytes| card.memory(bytes));
        let [
            tables,
            x,
            normed,
            q,
            attended,
            hidden,
            parts,
            logits,
            ranked,
            few,
        ] = parts;
        Ok(Self {
            tables: tables?,
            places: card.memory(4 * rows * dims.n_text_ctx)?,
            told: card.shared(TOLD + 8 * MOST_CHANGES)?,
            said: card.shared(8 * MOST_ROWS * MOST_BEST)?,
            probability: card.shared(4 * MOST_ROWS * MOST_LISTED)?,
            last: Cell::default(),
            telling: Cell::new(false),
            x: x?,
            normed: normed?,
            q: q?,
            attended: attended?,
            hidden: hidden?,
            parts: parts?,
            logits: logits?,
            ranked: ranked?,
            few: few?,
            graphs: Graphs::default(),
        })
    }

    /// Where the logits of the questions' rows are.
    pub fn logits(&self) -> Address {
        self.logits.address()
    }

    /// Where changes of places are laid down, behind the rest of what is told.
    pub fn changes(&self) -> Address {
        self.told.address() + TOLD as Address
    }

    /// Where a part of what a pass is told is, by the bytes of it in front for each row.
    fn told_at(&self, bytes: usize) -> Address {
        self.tables.address() + (MOST_ROWS * bytes) as Address
    }
    pub fn rows(&self) -> Address {
        self.told_at(0)
    }
    pub fn groups(&self) -> Address {
        self.told_at(16)
    }
    pub fn asks(&self) -> Address {
        self.told_at(32)
    }
    pub fn listed(&self) -> Address {
        self.told_at(96)
    }
}

/// Neighbouring rows that hear the same window.
pub(super) fn groups(tables: &Tables) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, (window, positions)) in tables.audio.iter().zip(&tables.heard).enumerate() {
        match groups.last_mut() {
            Some(group) if group.window == *window && (group.rows as usize) < GROUP => {
                group.rows += 1;
            }
            _ => groups.push(Group {
                first: i as i32,
                rows: 1,
                window: *window,
                positions: *positions,
            }),
        }
    }
    groups
}

/// Appends `count` numbers, what there is of them and then `empty` ones.
fn append<T: bytemuck::NoUninit>(bytes: &mut Vec<u8>, numbers: &[T], count: usize, empty: T) {
    bytes.extend_from_slice(bytemuck::cast_slice(numbers));
    let missing = count.saturating_sub(numbers.len());
    (0..missing).for_each(|_| bytes.extend_from_slice(bytemuck::bytes_of(&empty)));
}

/// What a pass is told, filled up to its shape: rows, groups, questions.
pub(super) fn told(shape: Shape, tables: &Tables, groups: &[Group], asks: &Asks) -> Vec<u8> {
    let row = |i: usize| Row {
        token: tables.tokens[i],
        position: tables.positions[i],
        table: tables.texts[i],
        store: tables.stores[i],
    };
    let empty = Row {
        token: -1,
        store: -1,
        ..Row::zeroed()
    };
    let rows: Vec<Row> = (0..tables.rows()).map(row).collect();
    let mut bytes = Vec::with_capacity(TOLD);
    append(&mut bytes, &rows, shape.rows, empty);
    append(&mut bytes, groups, shape.groups, Group::zeroed());
    append(&mut bytes, &asks.asks, shape.asks, Ask::none());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_up_to_eight_neighbours_of_one_window() {
        let audio = [[3; 10].as_slice(), &[4], &[3; 2]].concat();
        let tables = Tables {
            heard: audio.iter().map(|window| 100 * window).collect(),
            audio,
            ..Tables::default()
        };
        let groups = groups(&tables);
        let groups: Vec<_> = groups
            .iter()
            .map(|g| (g.first, g.rows, g.window, g.positions))
            .collect();
        assert_eq!(
            groups,
            [
                (0, 8, 3, 300),
                (8, 2, 3, 300),
                (10, 1, 4, 400),
                (11, 2, 3, 300)
            ]
        );
    }
}
