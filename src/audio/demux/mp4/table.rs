//! The tables that say where each sample of a track is, how large it is and how long it lasts.

use super::atoms::{be32, be64, find};
use super::entry::Entry;

/// Frames of plain samples that are handed on at once.
const PIECE_FRAMES: u64 = 1152;

/// A stretch of bytes that a decoder takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// When it begins and how long it lasts, in ticks of the media.
    pub(super) ticks: i64,
    pub(super) duration: i64,
    /// Which of the track's descriptions it follows.
    pub(super) description: usize,
}

/// The tables of `stbl`, read as they are asked for, and the place in them.
#[derive(Default)]
pub(super) struct Table {
    durations: Vec<u8>,
    chunks: Vec<u8>,
    sizes: Vec<u8>,
    offsets: Vec<u8>,
    are_wide: bool,
    /// Bits of a size, and the size of all samples where it is one.
    size_bits: usize,
    size: u64,
    count: u64,
    /// Whether any sample lasts.
    pub(super) is_timed: bool,
    place: Place,
}

#[derive(Clone, Copy, Default)]
struct Place {
    sample: u64,
    ticks: i64,
    /// The current entry of durations, and samples left of it.
    duration_entry: usize,
    duration_left: u64,
    duration: u32,
    /// Chunks begun, the entry that holds for the current one, samples left of it, and the offset
    /// of the next one.
    chunk: usize,
    chunk_entry: usize,
    chunk_left: u64,
    offset: u64,
    description: usize,
}

impl Table {
    pub(super) fn read(stbl: &[u8]) -> Self {
        let body = |kind| find(stbl, kind).map(<[u8]>::to_vec);
        let mut table = Self {
            durations: body(*b"stts").unwrap_or_default(),
            chunks: body(*b"stsc").unwrap_or_default(),
            ..Self::default()
        };
        if let Some(offsets) = body(*b"co64") {
            (table.offsets, table.are_wide) = (offsets, true);
        } else {
            table.offsets = body(*b"stco").unwrap_or_default();
        }
        if let Some(sizes) = body(*b"stsz") {
            table.size = u64::from(be32(&sizes, 4).unwrap_or(0));
            (table.sizes, table.size_bits) = (sizes, 32);
        } else if let Some(sizes) = body(*b"stz2") {
            table.size_bits = usize::from(sizes.get(7).copied().unwrap_or(0));
            table.sizes = sizes;
        }
        table.count = u64::from(be32(&table.sizes, 8).unwrap_or(0));
        let durations = table.durations.get(8..).unwrap_or_default();
        let mut durations = durations.chunks_exact(8);
        table.is_timed = durations.any(|entry| entry[4..] != [0; 4]);
        table
    }

    /// No sample can be found by it.
    pub(super) fn is_empty(&self) -> bool {
        let has_entry = |table: &[u8], bytes: usize| table.len() >= 8 + bytes;
        self.count == 0 || !has_entry(&self.chunks, 12) || !has_entry(&self.offsets, 4)
    }

    pub(super) fn rewind(&mut self) {
        self.place = Place::default();
    }

    /// Where the media that was handed out ends.
    pub(super) fn end_ticks(&self) -> i64 {
        self.place.ticks
    }

    pub(super) fn next_piece(&mut self, entries: &[Entry]) -> Option<Piece> {
        if self.place.sample >= self.count {
            return None;
        }
        while self.place.chunk_left == 0 {
            self.next_chunk()?;
        }
        let description = self.place.description;
        match entries.get(description).and_then(|entry| entry.block) {
            Some(block) if self.size > 0 && (self.size != block.bytes || block.frames == 1) => {
                self.blocks(block.bytes, block.frames)
            }
            _ => self.sample(),
        }
    }

    fn next_chunk(&mut self) -> Option<()> {
        let chunk = self.place.chunk;
        let first = |entry: usize| be32(&self.chunks, 8 + entry * 12);
        let entries = be32(&self.chunks, 4).unwrap_or(0) as usize;
        while self.place.chunk_entry + 1 < entries
            && first(self.place.chunk_entry + 1).is_some_and(|first| first as usize <= chunk + 1)
        {
            self.place.chunk_entry += 1;
        }
        let at = 8 + self.place.chunk_entry * 12;
        self.place.chunk_left = u64::from(be32(&self.chunks, at + 4)?);
        self.place.description = (be32(&self.chunks, at + 8)?.max(1) - 1) as usize;
        self.place.offset = match self.are_wide {
            true => be64(&self.offsets, 8 + chunk * 8)?,
            false => u64::from(be32(&self.offsets, 8 + chunk * 4)?),
        };
        self.place.chunk += 1;
        Some(())
    }

    fn size_of(&self, sample: u64) -> Option<u64> {
        if self.size > 0 {
            return Some(self.size);
        }
        let at = usize::try_from(sample).ok()?;
        match self.size_bits {
            4 => {
                let byte = self.sizes.get(12 + at / 2)?;
                Some(u64::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 }))
            }
            8 => self.sizes.get(12 + at).map(|byte| u64::from(*byte)),
            16 => {
                let bytes = self.sizes.get(12 + at * 2..14 + at * 2)?;
                Some(u64::from(bytes[0]) << 8 | u64::from(bytes[1]))
            }
            _ => be32(&self.sizes, 12 + at.checked_mul(4)?).map(u64::from),
        }
    }

    /// Ticks that the next `n` samples last.
    fn take_ticks(&mut self, n: u64) -> i64 {
        let (mut left, mut ticks) = (n, 0i64);
        while left > 0 {
            if self.place.duration_left == 0 {
                let at = 8 + self.place.duration_entry * 8;
                let entry = be32(&self.durations, at).zip(be32(&self.durations, at + 4));
                match entry {
                    Some((count, duration)) => {
                        self.place.duration_left = u64::from(count);
                        self.place.duration = duration;
                        self.place.duration_entry += 1;
                    }
                    // A table that is too short: the last duration goes on.
                    None => self.place.duration_left = u64::MAX,
                }
                continue;
            }
            let now = left.min(self.place.duration_left);
            let lasts = i64::try_from(now).unwrap_or(0);
            ticks = ticks.saturating_add(lasts.saturating_mul(i64::from(self.place.duration)));
            self.place.duration_left -= now;
            left -= now;
        }
        ticks
    }

    /// Takes `n` samples of the current chunk that make up `bytes`.
    fn take(&mut self, n: u64, bytes: u64) -> Piece {
        let duration = self.take_ticks(n);
        let place = &mut self.place;
        let piece = Piece {
            offset: place.offset,
            bytes,
            ticks: place.ticks,
            duration,
            description: place.description,
        };
        place.offset = place.offset.saturating_add(bytes);
        place.ticks = place.ticks.saturating_add(duration);
        place.sample += n;
        place.chunk_left -= n;
        piece
    }

    fn sample(&mut self) -> Option<Piece> {
        let bytes = self.size_of(self.place.sample)?;
        Some(self.take(1, bytes))
    }

    /// Blocks of one size, of which each counts as `frames` samples.
    fn blocks(&mut self, bytes: u64, frames: u64) -> Option<Piece> {
        let left = self.place.chunk_left.min(self.count - self.place.sample);
        let blocks = left.div_ceil(frames).min((PIECE_FRAMES / frames).max(1));
        let n = left.min(blocks * frames);
        Some(self.take(n, blocks * bytes))
    }
}
