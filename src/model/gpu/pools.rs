//! The card's memory, planned when a network is loaded: places for windows' audio and for rows of text, which
//! states take and give back.

use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Address, Card, Memory};
use crate::error::{Error, Result};
use crate::model::StateBytes;

/// Rows that a window is planned with: openai/whisper's default of five beams.
const ROWS_A_WINDOW: usize = 5;

/// How many windows there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Windows that are decoded side by side.
    pub windows: usize,
}

impl Room {
    /// Room for up to `wanted` windows in `bytes`, of which each has [`ROWS_A_WINDOW`] rows, one more for its
    /// prompt or its language, and a second place for audio, which language detection keeps.
    pub fn plan(wanted: usize, bytes: usize, cost: StateBytes) -> Option<Self> {
        let each = 2 * cost.window + (ROWS_A_WINDOW + 1) * cost.row;
        let windows = wanted.max(1).min(bytes / each.max(1));
        (windows > 0).then_some(Self { windows })
    }

    /// Places for audio.
    pub fn audio(self) -> usize {
        2 * self.windows
    }

    /// Places for rows of text.
    pub fn rows(self) -> usize {
        (ROWS_A_WINDOW + 1) * self.windows
    }

    /// Bytes of all places.
    pub fn bytes(self, cost: StateBytes) -> usize {
        self.audio() * cost.window + self.rows() * cost.row
    }
}

/// Places of one size.
#[derive(Clone)]
pub(super) struct Pool {
    memory: Arc<Memory>,
    free: Arc<Mutex<Vec<usize>>>,
    what: &'static str,
}

impl Pool {
    pub fn new(card: &Card, places: usize, bytes: usize, what: &'static str) -> Result<Self> {
        Ok(Self {
            memory: Arc::new(card.memory(places * bytes)?),
            free: Arc::new(Mutex::new((0..places).rev().collect())),
            what,
        })
    }

    pub fn address(&self) -> Address {
        self.memory.address()
    }

    /// A place of one's own.
    pub fn take(&self) -> Result<Slot> {
        let index = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let pool = self.clone();
        let full = || Error::Engine(format!("the card's memory is full of {}", self.what));
        index.map(|index| Slot { pool, index }).ok_or_else(full)
    }
}

/// A place in a pool, given back when it is dropped.
pub(super) struct Slot {
    pool: Pool,
    pub index: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::recording::{Recording, card};

    #[test]
    fn room_is_what_is_wanted_or_what_fits() {
        let cost = StateBytes {
            window: 100,
            row: 10,
        };
        let windows = |wanted, bytes| Room::plan(wanted, bytes, cost).map(|room| room.windows);
        let cases = [
            (8, 10_000, Some(8)),
            (8, 1_000, Some(3)),
            (8, 260, Some(1)),
            (8, 259, None),
            (0, 10_000, Some(1)),
        ];
        for (wanted, bytes, want) in cases {
            assert_eq!(windows(wanted, bytes), want, "{wanted} in {bytes}");
        }
        let room = Room { windows: 3 };
        assert_eq!((room.audio(), room.rows(), room.bytes(cost)), (6, 18, 780));
    }

    #[test]
    fn places_come_back() {
        let card = Card::new(Arc::new(Recording::new(card())));
        let pool = Pool::new(&card, 2, 64, "rows").unwrap();
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert_ne!(a.index, b.index);
        let error = pool.take().err().unwrap().to_string();
        assert!(error.contains("full of rows"), "{error}");
        drop(a);
        pool.take().unwrap();
    }
}
