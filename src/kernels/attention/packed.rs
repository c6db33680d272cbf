//! Keys and values laid out for reading: written once, then read by every query.
//!
//! Keys lie in panels of [`PANEL`] positions (the last may be narrower, a multiple of 16); within a panel
//! the positions are next to each other, so that a vector holds the same dimensions of many keys. Values
//! lie position by position. Where a format packs several numbers into one 32-bit word, they are
//! neighbours along the sum: dimensions of a key, positions of a value. The layout is the same at every
//! SIMD level.

use super::pack::{HeadPart, write_head};
use crate::kernels::Cpu;

/// Positions in a full panel of keys.
pub(super) const PANEL: usize = 64;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half floats, widened when read.
    F16,
    /// bf16, multiplied as such.
    Bf16,
    /// Bytes: keys with a scale per position, less their mean (which softmax does not see); values with
    /// a scale per dimension.
    I8,
}

impl Format {
    /// Numbers along the sum in one stored item.
    pub(super) const fn per_step(self) -> usize {
        match self {
            Format::F32 | Format::F16 => 1,
            Format::Bf16 => 2,
            Format::I8 => 4,
        }
    }
}

/// Rows of floats, all heads side by side, at a fixed distance.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The first row's first number and all that follows.
    pub data: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// How many rows.
    pub count: usize,
}

impl<'a> Rows<'a> {
    /// `len` numbers of a row, from `start` on.
    #[inline(always)]
    pub(super) fn part(&self, row: usize, start: usize, len: usize) -> &'a [f32] {
        &self.data[row * self.stride + start..][..len]
    }
}

/// Items that start at a cache line.
pub(super) struct Aligned<T> {
    items: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    fn new(len: usize) -> Self {
        let items = vec![T::default(); len + 64 / size_of::<T>()];
        let start = items.as_ptr().align_offset(64).min(64 / size_of::<T>());
        Aligned { items, start, len }
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items[self.start..][..self.len]
    }

    pub(super) fn items_mut(&mut self) -> &mut [T] {
        &mut self.items[self.start..][..self.len]
    }
}

/// One head's keys or values in a format.
pub(super) enum Plane {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Words(Aligned<u32>),
}

impl Plane {
    fn new(format: Format, len: usize) -> Plane {
        match format {
            Format::F32 => Plane::F32(Aligned::new(len)),
            Format::F16 => Plane::F16(Aligned::new(len)),
            Format::Bf16 | Format::I8 => Plane::Words(Aligned::new(len)),
        }
    }
}

/// One head of a [`Packed`].
pub(super) struct PackedHead {
    pub(super) keys: Plane,
    pub(super) values: Plane,
    /// Per position, the keys' scale ([`Format::I8`]).
    pub(super) key_scale: Vec<f32>,
    /// Per dimension, what the values are to be multiplied by ([`Format::I8`]).
    pub(super) value_scale: Vec<f32>,
    /// The mean that was taken from the keys ([`Format::I8`]).
    pub(super) key_mean: Vec<f32>,
}

/// The keys and values of all heads.
pub struct Packed {
    pub(super) format: Format,
    pub(super) positions: usize,
    pub(super) head_dim: usize,
    pub(super) heads: Vec<PackedHead>,
}

impl Packed {
    /// Packs `k` and `v`, both `(positions, heads × head_dim)`.
    pub fn new(
        cpu: &Cpu,
        format: Format,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) -> Packed {
        let mut packed = Packed::empty(format, k.count, heads, head_dim);
        packed.fill(cpu, k, v);
        packed
    }

    /// Packs other keys and values of the same shape into the same memory.
    pub(in crate::kernels) fn fill(&mut self, cpu: &Cpu, k: Rows, v: Rows) {
        assert_eq!(
            (k.count, v.count),
            (self.positions, self.positions),
            "as many values as keys"
        );
        let (format, head_dim) = (self.format, self.head_dim);
        cpu.pool().run_chunks(&mut self.heads, 1, |head, packed| {
            write_head(
                cpu.level(),
                packed[0].part(format, head_dim),
                k,
                v,
                head * head_dim,
            );
        });
    }

    /// Whether [`Packed::fill`] can be used.
    pub(in crate::kernels) fn fits(
        &self,
        format: Format,
        positions: usize,
        heads: usize,
        dim: usize,
    ) -> bool {
        (self.format, self.positions, self.heads.len(), self.head_dim)
            == (format, positions, heads, dim)
    }

    /// Packs `k` and `v`, both `(heads, positions, head_dim)`, as f32.
    pub(super) fn by_head(
        cpu: &Cpu,
        k: &[f32],
        v: &[f32],
        positions: usize,
        heads: usize,
        head_dim: usize,
    ) -> Packed {
        let mut packed = Packed::empty(Format::F32, positions, heads, head_dim);
        cpu.pool().run_chunks(&mut packed.heads, 1, |head, packed| {
            let rows = |data| Rows {
                data,
                stride: head_dim,
                count: positions,
            };
            let part = packed[0].part(Format::F32, head_dim);
            write_head(
                cpu.level(),
                part,
                rows(k),
                rows(v),
                head * positions * head_dim,
            );
        });
        packed
    }

    fn empty(format: Format, positions: usize, heads: usize, head_dim: usize) -> Packed {
        let heads = (0..heads)
            .map(|_| PackedHead::empty(format, positions, head_dim))
            .collect();
        Packed {
            format,
            positions,
            head_dim,
            heads,
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.positions
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions == 0
    }

    /// Heads held.
    pub fn heads(&self) -> usize {
        self.heads.len()
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// The keys again, `(heads, positions, head_dim)`, as far as the format kept them.
    pub fn keys(&self) -> Vec<f32> {
        let per_step = self.format.per_step();
        let mut out = Vec::with_capacity(self.heads.len() * self.positions * self.head_dim);
        for head in &self.heads {
            for position in 0..self.positions {
                for dim in 0..self.head_dim {
                    let (panel, lane) = (position / PANEL, position % PANEL);
                    let base = panel * PANEL * depth(self.head_dim).div_ceil(per_step);
                    let width = panel_width(self.positions, panel);
                    let raw = head.keys.number(
                        self.format,
                        base + dim / per_step * width + lane,
                        dim % per_step,
                        128,
                    );
                    out.push(match self.format {
                        Format::I8 => raw * head.key_scale[position] + head.key_mean[dim],
                        _ => raw,
                    });
                }
            }
        }
        out
    }

    /// The values again, `(heads, positions, head_dim)`, as far as the format kept them.
    pub fn values(&self) -> Vec<f32> {
        let per_step = self.format.per_step();
        let width = lanes(self.head_dim);
        let mut out = Vec::with_capacity(self.heads.len() * self.positions * self.head_dim);
        for head in &self.heads {
            for position in 0..self.positions {
                for dim in 0..self.head_dim {
                    let at = position / per_step * width + dim;
                    let raw = head.values.number(self.format, at, position % per_step, 0);
                    out.push(if self.format == Format::I8 {
                        raw * head.value_scale[dim]
                    } else {
                        raw
                    });
                }
            }
        }
        out
    }
}

impl Plane {
    /// The `part`th number of an item. Bytes are keys, `offset` 128 and unsigned, or values, signed.
    fn number(&self, format: Format, item: usize, part: usize, offset: u8) -> f32 {
        match self {
            Plane::F32(x) => x.items()[item],
            Plane::F16(x) => half::f16::from_bits(x.items()[item]).to_f32(),
            Plane::Words(x) if format == Format::Bf16 => {
                f32::from_bits(x.items()[item] >> (16 * part) << 16)
            }
            Plane::Words(x) => {
                f32::from(x.items()[item].to_le_bytes()[part].wrapping_sub(offset) as i8)
            }
        }
    }
}

impl PackedHead {
    fn empty(format: Format, positions: usize, head_dim: usize) -> PackedHead {
        let (padded, per_step) = (lanes(positions), format.per_step());
        let scales = |len| {
            if format == Format::I8 {
                vec![0.0; len]
            } else {
                Vec::new()
            }
        };
        PackedHead {
            keys: Plane::new(format, padded * depth(head_dim) / per_step),
            values: Plane::new(format, padded / per_step * lanes(head_dim)),
            key_scale: scales(padded),
            value_scale: scales(lanes(head_dim)),
            key_mean: scales(lanes(head_dim)),
        }
    }

    fn part(&mut self, format: Format, head_dim: usize) -> HeadPart<'_> {
        HeadPart {
            head: self,
            format,
            head_dim,
        }
    }
}

/// The sum's length in scores, padded so that every format has whole steps.
pub(super) fn depth(head_dim: usize) -> usize {
    head_dim.next_multiple_of(4)
}

/// A count padded to whole vectors at every level.
pub(super) fn lanes(count: usize) -> usize {
    count.next_multiple_of(16)
}

/// Positions in a panel, padding included.
pub(super) fn panel_width(positions: usize, panel: usize) -> usize {
    (lanes(positions) - panel * PANEL).min(PANEL)
}
