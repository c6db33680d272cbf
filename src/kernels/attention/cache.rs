//! KV caches: the keys and values that the decoder remembers of a window.
//!
//! Plain floats, no tensors. [`GroupKv`] grows by a token per step and is shared by a window's beams;
//! [`Lineage`] says which beam wrote which position of whose history, so that reordering beams copies
//! nothing; [`CrossKv`] is written once per window, laid out for reading.

use std::ops::Range;
use std::sync::{Arc, Weak};

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::panels::{PackedDtype, PackedKv, Rows};
use crate::kernels::Cpu;

/// Positions in a block of a growing cache: what it grows by.
pub(super) const BLOCK: usize = 64;

/// The dtype of a growing cache's keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GrowingDtype {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, widened when read.
    F16,
}

impl GrowingDtype {
    /// Bytes a number takes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            GrowingDtype::F32 => 4,
            GrowingDtype::F16 => 2,
        }
    }
}

/// Which row of a [`GroupKv`] holds each position of each beam's history; one for all layers of a window.
///
/// At first every position is in row 0, where the prompt is prefilled once for all beams. After the
/// prompt each step calls [`Lineage::advance`], then writes every beam's token into its own row.
#[derive(Clone, Debug)]
pub struct Lineage {
    beams: usize,
    capacity: usize,
    /// `(beams, capacity)`
    rows: Vec<u16>,
    /// The table before a reordering, kept to allocate nothing per step.
    previous: Vec<u16>,
}

impl Lineage {
    /// For `beams` beams of up to `capacity` positions each.
    #[must_use]
    pub fn new(beams: usize, capacity: usize) -> Lineage {
        let beams = beams.clamp(1, usize::from(u16::MAX));
        let rows = vec![0; beams * capacity];
        Lineage {
            beams,
            capacity,
            previous: Vec::new(),
            rows,
        }
    }

    /// Beams in all.
    #[must_use]
    pub fn beams(&self) -> usize {
        self.beams
    }

    /// From now on `position` of every beam is in the beam's own row.
    pub fn advance(&mut self, position: usize) {
        for beam in 0..self.beams {
            self.rows[beam * self.capacity + position] = beam as u16;
        }
    }

    /// Beam `b` continues the history of beam `parents[b]`; beams without a parent keep theirs.
    pub fn reorder(&mut self, parents: &[usize]) {
        if parents
            .iter()
            .enumerate()
            .all(|(beam, &parent)| beam == parent)
        {
            return;
        }
        self.previous.clone_from(&self.rows);
        let old = self.previous.chunks_exact(self.capacity);
        let old: Vec<&[u16]> = old.collect();
        for (new, &parent) in self.rows.chunks_exact_mut(self.capacity).zip(parents) {
            new.copy_from_slice(old[parent]);
        }
    }

    /// Every position is in row 0 again.
    pub fn reset(&mut self) {
        self.rows.fill(0);
    }

    /// The row of each position of a beam's history, `capacity` of them.
    #[must_use]
    pub fn history(&self, beam: usize) -> &[u16] {
        &self.rows[beam * self.capacity..][..self.capacity]
    }
}

/// One head's numbers at neighbouring positions of a row, `(positions, head_dim)`.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
}

impl Stored<'_> {
    /// Appends the numbers as f32.
    fn append_to(self, out: &mut Vec<f32>) {
        match self {
            Stored::F32(x) => out.extend_from_slice(x),
            Stored::F16(x) => {
                let start = out.len();
                out.resize(start + x.len(), 0.0);
                x.reinterpret_cast::<f16>()
                    .convert_to_f32_slice(&mut out[start..]);
            }
        }
    }
}

/// Cuts a history into stretches that lie next to each other in a cache: `(row, positions)`.
pub(super) fn runs(history: &[u16]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let &row = history.get(start)?;
        let limit = history.len().min(start / BLOCK * BLOCK + BLOCK);
        let len = history[start..limit]
            .iter()
            .take_while(|&&other| other == row)
            .count();
        let run = start..start + len;
        start = run.end;
        Some((usize::from(row), run))
    })
}

/// Keys or values of [`BLOCK`] positions, `(heads, BLOCK, head_dim)`.
enum Block {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

impl Block {
    fn new(dtype: GrowingDtype, heads: usize, head_dim: usize) -> Block {
        let len = heads * BLOCK * head_dim;
        match dtype {
            GrowingDtype::F32 => Block::F32(vec![0.0; len]),
            GrowingDtype::F16 => Block::F16(vec![0; len]),
        }
    }

    /// Writes one head at one position; `at` counts both.
    fn write(&mut self, at: usize, from: &[f32]) {
        let range = at * from.len()..(at + 1) * from.len();
        match self {
            Block::F32(to) => to[range].copy_from_slice(from),
            Block::F16(to) => {
                to[range]
                    .reinterpret_cast_mut::<f16>()
                    .convert_from_f32_slice(from);
            }
        }
    }

    /// What is stored from `at` on, of `count` positions.
    #[inline(always)]
    fn read(&self, at: usize, count: usize, head_dim: usize) -> Stored<'_> {
        let range = at * head_dim..(at + count) * head_dim;
        match self {
            Block::F32(x) => Stored::F32(&x[range]),
            Block::F16(x) => Stored::F16(&x[range]),
        }
    }
}

/// Decoder self-attention cache of one window, one layer: a row per beam, read through a [`Lineage`].
///
/// A position of a row is written once between resets, so that beams which share a history never
/// disturb each other.
pub struct GroupKv {
    dtype: GrowingDtype,
    heads: usize,
    head_dim: usize,
    capacity: usize,
    /// Per row, its blocks so far: keys and values.
    rows: Vec<Vec<(Block, Block)>>,
}

impl GroupKv {
    /// An empty cache of `beams` rows of up to `capacity` positions; memory is taken as they fill.
    #[must_use]
    pub fn new(
        dtype: GrowingDtype,
        heads: usize,
        head_dim: usize,
        beams: usize,
        capacity: usize,
    ) -> GroupKv {
        let rows = (0..beams.max(1)).map(|_| Vec::new()).collect();
        GroupKv {
            dtype,
            heads,
            head_dim,
            capacity,
            rows,
        }
    }

    /// Number of heads.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Width of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Most positions a row can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes a token's key and value, `heads × head_dim` each, into a beam's own row.
    ///
    /// # Panics
    /// Where the beam or the position does not exist, or a slice is too short.
    pub fn write(&mut self, beam: usize, position: usize, k: &[f32], v: &[f32]) {
        assert!(
            position < self.capacity,
            "position {position} of {}",
            self.capacity
        );
        let (dtype, heads, head_dim) = (self.dtype, self.heads, self.head_dim);
        let blocks = &mut self.rows[beam];
        while blocks.len() <= position / BLOCK {
            let block = || Block::new(dtype, heads, head_dim);
            blocks.push((block(), block()));
        }
        let (keys, values) = &mut blocks[position / BLOCK];
        for head in 0..heads {
            let at = head * BLOCK + position % BLOCK;
            keys.write(at, &k[head * head_dim..][..head_dim]);
            values.write(at, &v[head * head_dim..][..head_dim]);
        }
    }

    /// Ready for another prompt, with `beams` rows; keeps the memory of those there were.
    pub fn reset(&mut self, beams: usize) {
        self.rows.resize_with(beams.max(1), Vec::new);
    }

    /// One head's keys at positions of one block ([`runs`]).
    #[inline(always)]
    pub(super) fn keys_at(&self, row: usize, positions: Range<usize>, head: usize) -> Stored<'_> {
        let at = head * BLOCK + positions.start % BLOCK;
        self.rows[row][positions.start / BLOCK]
            .0
            .read(at, positions.len(), self.head_dim)
    }

    /// One head's values at positions of one block ([`runs`]).
    #[inline(always)]
    pub(super) fn values_at(&self, row: usize, positions: Range<usize>, head: usize) -> Stored<'_> {
        let at = head * BLOCK + positions.start % BLOCK;
        self.rows[row][positions.start / BLOCK]
            .1
            .read(at, positions.len(), self.head_dim)
    }

    /// The first `kv_len` keys of a beam's history, `(heads, kv_len, head_dim)`.
    #[must_use]
    pub fn keys(&self, lineage: &Lineage, beam: usize, kv_len: usize) -> Vec<f32> {
        self.history(lineage, beam, kv_len, Self::keys_at)
    }

    /// The first `kv_len` values of a beam's history, `(heads, kv_len, head_dim)`.
    #[must_use]
    pub fn values(&self, lineage: &Lineage, beam: usize, kv_len: usize) -> Vec<f32> {
        self.history(lineage, beam, kv_len, Self::values_at)
    }

    fn history<'a>(
        &'a self,
        lineage: &Lineage,
        beam: usize,
        kv_len: usize,
        read: impl Fn(&'a Self, usize, Range<usize>, usize) -> Stored<'a>,
    ) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.heads * kv_len * self.head_dim);
        for head in 0..self.heads {
            for (row, positions) in runs(&lineage.history(beam)[..kv_len]) {
                read(self, row, positions, head).append_to(&mut out);
            }
        }
        out
    }
}

/// Decoder cross-attention of one window, one layer: written once, laid out for reading.
pub struct CrossKv {
    packed: PackedKv,
    /// Lives as long as what is packed now.
    packing: Arc<()>,
}

impl CrossKv {
    /// Packs keys and values, `(positions, heads × head_dim)` each.
    ///
    /// # Panics
    /// Where there are not as many values as keys.
    #[must_use]
    pub fn pack(
        cpu: &Cpu,
        dtype: PackedDtype,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) -> CrossKv {
        CrossKv {
            packed: PackedKv::pack(cpu, dtype, k, v, heads, head_dim),
            packing: Arc::default(),
        }
    }

    /// Packs other keys and values, into the same memory where they have the same shape.
    ///
    /// # Panics
    /// Where there are not as many values as keys.
    pub fn repack(
        &mut self,
        cpu: &Cpu,
        dtype: PackedDtype,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) {
        if self.packed.fits(dtype, k.count, heads, head_dim) {
            self.packed.fill(cpu, k, v);
            self.packing = Arc::default();
        } else {
            *self = CrossKv::pack(cpu, dtype, k, v, heads, head_dim);
        }
    }

    /// Heads, and the width of each.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.packed.heads.len(), self.packed.head_dim)
    }

    /// Positions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.positions
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.positions == 0
    }

    /// The keys again, `(heads, positions, head_dim)`, as far as the dtype kept them.
    #[must_use]
    pub fn keys(&self) -> Vec<f32> {
        self.packed.keys()
    }

    /// The values again, `(heads, positions, head_dim)`, as far as the dtype kept them.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.packed.values()
    }

    /// Which keys and values these are, for whoever remembers what it made of them: no two packings are
    /// [`Weak::ptr_eq`], and one is gone when the next is made or the cache is dropped.
    #[must_use]
    pub fn packing(&self) -> Weak<()> {
        Arc::downgrade(&self.packing)
    }

    pub(super) fn packed(&self) -> &PackedKv {
        &self.packed
    }
}
