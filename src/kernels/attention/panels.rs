//! Keys and values packed into panels: written once, then read by every query.
//!
//! Keys lie in panels of [`PANEL`] positions (the last may be narrower, a multiple of 16); within a panel
//! the positions are next to each other, so that a vector holds the same dimension of many keys. Values
//! lie position by position. Bytes are packed four to a 32-bit word, neighbours along the sum: dimensions
//! of a key, positions of a value. The layout is the same at every SIMD level; keys are unsigned, 128 off, and
//! values signed, where the level multiplies bytes of unlike signs, else the other way round.

use crate::kernels::storage::Buffer;

/// Positions in a full panel of keys.
pub(super) const PANEL: usize = 64;

/// The dtype of packed keys and values, which says how attention over them is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PackedDtype {
    /// f32 throughout: exact.
    #[default]
    F32,
    /// Signed bytes: keys with a scale per position, less their mean (which softmax does not see);
    /// values with a scale per dimension. Byte products, f32 softmax.
    I8,
}

impl PackedDtype {
    /// Bytes a number takes, scales not counted.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            PackedDtype::F32 => 4,
            PackedDtype::I8 => 1,
        }
    }

    /// Numbers along the sum in one stored 32-bit word.
    const fn per_word(self) -> usize {
        4 / self.size()
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

/// One head of a [`PackedKv`].
pub(super) struct PackedHead {
    /// Panels of 32-bit words, padded with zeros: f32, or four bytes.
    pub(super) keys: Buffer,
    /// Rows of 32-bit words, padded with zeros: f32, or four bytes.
    pub(super) values: Buffer,
    /// Per position, the keys' scale ([`PackedDtype::I8`]).
    pub(super) key_scale: Vec<f32>,
    /// Per dimension, what the values are to be multiplied by ([`PackedDtype::I8`]).
    pub(super) value_scale: Vec<f32>,
    /// The mean that was taken from the keys ([`PackedDtype::I8`]).
    pub(super) key_mean: Vec<f32>,
}

impl PackedHead {
    fn empty(dtype: PackedDtype, positions: usize, head_dim: usize) -> PackedHead {
        let (padded, per_word) = (lanes(positions), dtype.per_word());
        let scales = |len| match dtype {
            PackedDtype::I8 => vec![0.0; len],
            PackedDtype::F32 => Vec::new(),
        };
        PackedHead {
            keys: Buffer::zeroed::<u32>(padded * depth(head_dim) / per_word),
            values: Buffer::zeroed::<u32>(padded / per_word * lanes(head_dim)),
            key_scale: scales(padded),
            value_scale: scales(lanes(head_dim)),
            key_mean: scales(lanes(head_dim)),
        }
    }
}

/// The keys and values of all heads.
pub(super) struct PackedKv {
    pub(super) dtype: PackedDtype,
    pub(super) positions: usize,
    pub(super) head_dim: usize,
    pub(super) heads: Vec<PackedHead>,
    /// Whether bytes are signed in keys and unsigned in values, not the other way round.
    pub(super) one_sign: bool,
}

impl PackedKv {
    pub(super) fn empty(
        dtype: PackedDtype,
        positions: usize,
        heads: usize,
        head_dim: usize,
    ) -> PackedKv {
        let heads = (0..heads)
            .map(|_| PackedHead::empty(dtype, positions, head_dim))
            .collect();
        PackedKv {
            dtype,
            positions,
            head_dim,
            heads,
            one_sign: false,
        }
    }

    /// Whether keys and values of this shape can be packed into the same memory.
    pub(super) fn fits(
        &self,
        dtype: PackedDtype,
        positions: usize,
        heads: usize,
        head_dim: usize,
    ) -> bool {
        (self.dtype, self.positions, self.heads.len(), self.head_dim)
            == (dtype, positions, heads, head_dim)
    }

    /// The keys again, `(heads, positions, head_dim)`, as far as the dtype kept them.
    pub(super) fn keys(&self) -> Vec<f32> {
        self.unpacked(|head, position, dim| {
            let (panel, lane) = (position / PANEL, position % PANEL);
            let (per_word, width) = (self.dtype.per_word(), panel_width(self.positions, panel));
            let base = panel * PANEL * depth(self.head_dim) / per_word;
            let word = base + dim / per_word * width + lane;
            match self.dtype {
                PackedDtype::F32 => head.keys.items::<f32>()[word],
                PackedDtype::I8 => {
                    let byte = head.keys.items::<u8>()[4 * word + dim % 4] ^ self.key_offset();
                    f32::from(byte as i8) * head.key_scale[position] + head.key_mean[dim]
                }
            }
        })
    }

    /// One head's panels of keys as f32: where they lie, or in `scratch`.
    pub(super) fn key_panels<'a>(&'a self, head: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let head = &self.heads[head];
        if self.dtype == PackedDtype::F32 {
            return head.keys.items::<f32>();
        }
        let bytes = head.keys.items::<u8>();
        scratch.clear();
        scratch.resize(lanes(self.positions) * depth(self.head_dim), 0.0);
        let offset = self.key_offset();
        let panels = scratch.chunks_mut(PANEL * depth(self.head_dim));
        for (panel, (to, from)) in panels
            .zip(bytes.chunks(PANEL * depth(self.head_dim)))
            .enumerate()
        {
            let width = panel_width(self.positions, panel);
            let scales = &head.key_scale[panel * PANEL..][..width];
            for (dims, words) in from.chunks_exact(4 * width).enumerate() {
                for dim in 4 * dims..(4 * dims + 4).min(self.head_dim) {
                    let mean = head.key_mean[dim];
                    let to = &mut to[dim * width..][..width];
                    for ((to, word), scale) in to.iter_mut().zip(words.chunks_exact(4)).zip(scales)
                    {
                        *to = f32::from((word[dim % 4] ^ offset) as i8) * scale + mean;
                    }
                }
            }
        }
        scratch
    }

    /// The values again, `(heads, positions, head_dim)`, as far as the dtype kept them.
    pub(super) fn values(&self) -> Vec<f32> {
        self.unpacked(|head, position, dim| {
            let word = position / self.dtype.per_word() * lanes(self.head_dim) + dim;
            match self.dtype {
                PackedDtype::F32 => head.values.items::<f32>()[word],
                PackedDtype::I8 => {
                    let byte = head.values.items::<u8>()[4 * word + position % 4];
                    f32::from((byte ^ self.value_offset()) as i8) * head.value_scale[dim]
                }
            }
        })
    }

    /// What makes a stored key's byte signed, and a signed one what is stored.
    const fn key_offset(&self) -> u8 {
        if self.one_sign { 0 } else { 128 }
    }

    /// Likewise of a value.
    const fn value_offset(&self) -> u8 {
        128 - self.key_offset()
    }

    fn unpacked(&self, number: impl Fn(&PackedHead, usize, usize) -> f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.heads.len() * self.positions * self.head_dim);
        for head in &self.heads {
            for position in 0..self.positions {
                out.extend((0..self.head_dim).map(|dim| number(head, position, dim)));
            }
        }
        out
    }
}

/// The sum's length in scores, padded so that every dtype has whole steps.
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
