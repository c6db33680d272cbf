//! Storage of keys and values: what the decoder remembers of a window.
//!
//! Plain numbers, no tensors. [`GroupKv`] grows by a token per step and is shared by a window's beams;
//! [`Lineage`] says which beam wrote which position of whose history, so that reordering beams copies
//! nothing; [`CrossKv`] is written once per window, laid out for reading.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::Cpu;
use super::attention::packed::{Format, Packed, Rows};
use super::tiled::{History, Number, Source};

/// Positions in a block of a growing cache: what it grows by.
pub(super) const BLOCK: usize = 64;

/// How a cache stores numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half floats.
    F16,
    /// Signed bytes with scales.
    I8,
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
    /// With a scale per position.
    I8(&'a [i8], &'a [f32]),
}

impl Stored<'_> {
    /// Appends the numbers as f32.
    fn append_to(self, out: &mut Vec<f32>, head_dim: usize) {
        match self {
            Stored::F32(x) => out.extend_from_slice(x),
            Stored::F16(x) => {
                let start = out.len();
                out.resize(start + x.len(), 0.0);
                x.reinterpret_cast::<f16>()
                    .convert_to_f32_slice(&mut out[start..]);
            }
            Stored::I8(x, scales) => {
                for (x, scale) in x.chunks_exact(head_dim).zip(scales) {
                    out.extend(x.iter().map(|&x| f32::from(x) * scale));
                }
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
enum Plane {
    F32(Vec<f32>),
    F16(Vec<u16>),
    /// With a scale per head and position.
    I8(Vec<i8>, Vec<f32>),
}

impl Plane {
    fn new(format: KvFormat, heads: usize, head_dim: usize) -> Plane {
        let len = heads * BLOCK * head_dim;
        match format {
            KvFormat::F32 => Plane::F32(vec![0.0; len]),
            KvFormat::F16 => Plane::F16(vec![0; len]),
            KvFormat::I8 => Plane::I8(vec![0; len], vec![0.0; heads * BLOCK]),
        }
    }

    /// Writes one head at one position; `at` counts both.
    fn write(&mut self, at: usize, from: &[f32]) {
        let range = at * from.len()..(at + 1) * from.len();
        match self {
            Plane::F32(to) => to[range].copy_from_slice(from),
            Plane::F16(to) => {
                to[range]
                    .reinterpret_cast_mut::<f16>()
                    .convert_from_f32_slice(from);
            }
            Plane::I8(to, scales) => {
                let largest = from
                    .iter()
                    .fold(0.0, |largest: f32, x| largest.max(x.abs()));
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                scales[at] = largest / 127.0;
                for (to, x) in to[range].iter_mut().zip(from) {
                    *to = (x * inverse).round_ties_even() as i8;
                }
            }
        }
    }

    /// What is stored from `at` on, of `count` positions.
    #[inline(always)]
    fn read(&self, at: usize, count: usize, head_dim: usize) -> Stored<'_> {
        let range = at * head_dim..(at + count) * head_dim;
        match self {
            Plane::F32(x) => Stored::F32(&x[range]),
            Plane::F16(x) => Stored::F16(&x[range]),
            Plane::I8(x, scales) => Stored::I8(&x[range], &scales[at..at + count]),
        }
    }
}

/// Decoder self-attention cache of one window, one layer: a row per beam, read through a [`Lineage`].
///
/// A position of a row is written once between resets, so that beams which share a history never
/// disturb each other.
pub struct GroupKv {
    format: KvFormat,
    heads: usize,
    head_dim: usize,
    capacity: usize,
    /// Per row, its blocks so far: keys and values.
    rows: Vec<Vec<(Plane, Plane)>>,
}

impl GroupKv {
    /// An empty cache of `beams` rows of up to `capacity` positions; memory is taken as they fill.
    #[must_use]
    pub fn new(
        format: KvFormat,
        heads: usize,
        head_dim: usize,
        beams: usize,
        capacity: usize,
    ) -> GroupKv {
        let rows = (0..beams.max(1)).map(|_| Vec::new()).collect();
        GroupKv {
            format,
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
        let (format, heads, head_dim) = (self.format, self.heads, self.head_dim);
        let blocks = &mut self.rows[beam];
        while blocks.len() <= position / BLOCK {
            let plane = || Plane::new(format, heads, head_dim);
            blocks.push((plane(), plane()));
        }
        let (keys, values) = &mut blocks[position / BLOCK];
        for head in 0..heads {
            let at = head * BLOCK + position % BLOCK;
            keys.write(at, &k[head * head_dim..][..head_dim]);
            values.write(at, &v[head * head_dim..][..head_dim]);
        }
    }

    /// Gives back the memory beyond the first `positions` of every row.
    pub fn truncate(&mut self, positions: usize) {
        self.rows
            .iter_mut()
            .for_each(|blocks| blocks.truncate(positions.div_ceil(BLOCK)));
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
                read(self, row, positions, head).append_to(&mut out, self.head_dim);
            }
        }
        out
    }
}

/// Decoder cross-attention of one window, one layer: written once, laid out for reading.
pub struct CrossKv {
    packed: Packed,
    /// What [`CrossKv::history`] gave last.
    history: Mutex<Option<(Number, Arc<History>)>>,
}

impl CrossKv {
    /// Packs keys and values, `(positions, heads × head_dim)` each.
    ///
    /// # Panics
    /// Where there are not as many values as keys.
    #[must_use]
    pub fn pack(
        cpu: &Cpu,
        format: KvFormat,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) -> CrossKv {
        CrossKv {
            packed: Packed::new(cpu, packed_format(format), k, v, heads, head_dim),
            history: Mutex::default(),
        }
    }

    /// Packs other keys and values, into the same memory where they have the same shape.
    ///
    /// # Panics
    /// Where there are not as many values as keys.
    pub fn repack(
        &mut self,
        cpu: &Cpu,
        format: KvFormat,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) {
        let fits = self
            .packed
            .fits(packed_format(format), k.count, heads, head_dim);
        if fits {
            self.packed.fill(cpu, k, v);
            self.history = Mutex::default();
        } else {
            *self = CrossKv::pack(cpu, format, k, v, heads, head_dim);
        }
    }

    /// Heads, and the width of each.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.packed.heads(), self.packed.head_dim())
    }

    /// Positions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The keys again, `(heads, positions, head_dim)`, as far as the format kept them.
    #[must_use]
    pub fn keys(&self) -> Vec<f32> {
        self.packed.keys()
    }

    /// The values again, `(heads, positions, head_dim)`, as far as the format kept them.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.packed.values()
    }

    /// Keys and values as tiles read them, in f32 rounded to `number`. Made when it is first asked for
    /// and kept until [`CrossKv::repack`], or until other numbers are asked for.
    #[must_use]
    pub fn history(&self, cpu: &Cpu, number: Number) -> Arc<History> {
        let mut kept = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, history)) = kept.as_ref().filter(|(of, _)| *of == number) {
            return Arc::clone(history);
        }
        let ((heads, head_dim), len) = (self.shape(), self.len());
        let (keys, values) = (self.keys(), self.values());
        let parts = [&keys, &values].map(|data| Source::by_head(data, head_dim, len));
        let history = Arc::new(History::new(cpu, number, parts, (heads, head_dim), len));
        *kept = Some((number, Arc::clone(&history)));
        history
    }

    pub(super) fn packed(&self) -> &Packed {
        &self.packed
    }
}

fn packed_format(format: KvFormat) -> Format {
    match format {
        KvFormat::F32 => Format::F32,
        KvFormat::F16 => Format::F16,
        KvFormat::I8 => Format::I8,
    }
}
