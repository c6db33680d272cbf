//! The card's memory, planned when a network is loaded: places for windows' audio and for rows of text, which
//! states take and give back.

use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Address, Card, Memory};
use crate::error::{Error, Result};
use crate::model::{Most, StateBytes};

/// Rows that a window is planned with: openai/whisper's default of five beams.
const ROWS_A_WINDOW: usize = 5;
/// Rows a window where memory is short: windows of more rows wait for each other.
const LEAST_ROWS: usize = 2;

/// How many windows there is room for, and what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Windows that are decoded side by side, and rows of them.
    pub most: Most,
    /// Places for audio: up to two a window, of which language detection keeps one.
    pub audio: usize,
}

impl Room {
    /// Room for up to `wanted` windows in `bytes`: first as many windows as have [`LEAST_ROWS`], and the first of
    /// them all its rows; then rows, then audio that need not be encoded again.
    pub fn plan(wanted: usize, bytes: usize, cost: StateBytes) -> Option<Self> {
        let left = |windows: usize| (bytes).checked_sub(windows * cost.window + cost.row);
        let rows = |windows| left(windows).map(|left| left / cost.row.max(1));
        let fits = |windows: &usize| {
            let least = (LEAST_ROWS * windows).max(ROWS_A_WINDOW);
            rows(*windows).is_some_and(|rows| rows >= least)
        };
        let windows = (1..=wanted.max(1)).rev().find(fits)?;
        let rows = rows(windows)?.min(ROWS_A_WINDOW * windows);
        let left = left(windows)? - rows * cost.row;
        Some(Self {
            most: Most { windows, rows },
            audio: windows + windows.min(left / cost.window.max(1)),
        })
    }

    /// The bytes that one window needs.
    pub fn least(cost: StateBytes) -> usize {
        cost.window + (ROWS_A_WINDOW + 1) * cost.row
    }

    /// Places for rows of text: one more, for a window whose language is asked for.
    pub fn rows(self) -> usize {
        self.most.rows + 1
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
        let cases = [
            // Wanted, bytes: windows, rows, places for audio.
            (8, 10_000, Some((8, 40, 16))),
            (8, 2_010, Some((8, 40, 16))),
            (8, 2_009, Some((8, 40, 15))),
            (8, 1_000, Some((8, 19, 8))),
            (8, 500, Some((4, 9, 4))),
            (8, 160, Some((1, 5, 1))),
            (8, 159, None),
            (0, 10_000, Some((1, 5, 2))),
        ];
        for (wanted, bytes, want) in cases {
            let room = Room::plan(wanted, bytes, cost);
            let got = room.map(|room| (room.most.windows, room.most.rows, room.audio));
            assert_eq!(got, want, "{wanted} in {bytes}");
            let taken = |room: Room| room.audio * cost.window + room.rows() * cost.row;
            assert!(room.is_none_or(|room| taken(room) <= bytes));
        }
        assert_eq!(Room::least(cost), 160);
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
