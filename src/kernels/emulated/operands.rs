//! Queries, keys and values as a tile reads them: rounded, head by head, padded to whole vectors.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::kernels::Cpu;
use crate::kernels::simd::LANES;

/// The dtype that inputs are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Not rounded.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Rounding {
    /// Rounds every number to the nearest, ties to even.
    pub fn round(self, numbers: &mut [f32]) {
        const STEP: usize = 256;
        match self {
            Rounding::F32 => {}
            Rounding::F16 => {
                let mut short = [f16::ZERO; STEP];
                for numbers in numbers.chunks_mut(STEP) {
                    let short = &mut short[..numbers.len()];
                    short.convert_from_f32_slice(numbers);
                    short.convert_to_f32_slice(numbers);
                }
            }
            Rounding::Bf16 => {
                for x in numbers {
                    *x = bf16::from_f32(*x).to_f32();
                }
            }
        }
    }
}

/// Numbers of all heads, wherever they lie: `head_dim` neighbours for each head and position.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The first head's first position and all that follows.
    pub data: &'a [f32],
    /// From one head to the next.
    pub head_stride: usize,
    /// From one position to the next.
    pub position_stride: usize,
}

impl<'a> Source<'a> {
    /// `(positions, heads × head_dim)`
    #[must_use]
    pub fn by_token(data: &'a [f32], (heads, head_dim): (usize, usize)) -> Self {
        Self {
            data,
            head_stride: head_dim,
            position_stride: heads * head_dim,
        }
    }

    /// `(heads, len, head_dim)`
    #[must_use]
    pub fn by_head(data: &'a [f32], head_dim: usize, len: usize) -> Self {
        Self {
            data,
            head_stride: len * head_dim,
            position_stride: head_dim,
        }
    }

    fn part(self, head: usize, position: usize, head_dim: usize) -> &'a [f32] {
        &self.data[head * self.head_stride + position * self.position_stride..][..head_dim]
    }
}

/// A row's queries, `(heads, queries, width)`, where `width` is `head_dim` padded with zeros.
pub struct Queries {
    heads: usize,
    head_dim: usize,
    count: usize,
    numbers: Vec<f32>,
}

impl Queries {
    /// Copies and rounds `count` queries.
    ///
    /// # Panics
    /// Where the source is too short.
    #[must_use]
    pub fn new(
        rounding: Rounding,
        source: Source,
        (heads, head_dim): (usize, usize),
        count: usize,
    ) -> Queries {
        let width = head_dim.next_multiple_of(LANES);
        let mut numbers = vec![0.0; heads * count * width];
        for (i, to) in numbers.chunks_exact_mut(width).enumerate() {
            let to = &mut to[..head_dim];
            to.copy_from_slice(source.part(i / count, i % count, head_dim));
            rounding.round(to);
        }
        Queries {
            heads,
            head_dim,
            count,
            numbers,
        }
    }

    /// Heads, and the width of each.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.heads, self.head_dim)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    pub(super) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    pub(super) fn head(&self, head: usize) -> HeadQueries<'_> {
        let size = self.count * self.width();
        HeadQueries {
            numbers: &self.numbers[head * size..][..size],
            width: self.width(),
            scale: 1.0 / (self.head_dim as f32).sqrt(),
        }
    }
}

/// One head of [`Queries`].
#[derive(Clone, Copy)]
pub(super) struct HeadQueries<'a> {
    /// `(count, width)`
    pub(super) numbers: &'a [f32],
    pub(super) width: usize,
    /// What scores are multiplied by.
    pub(super) scale: f32,
}

impl<'a> HeadQueries<'a> {
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        &self.numbers[row * self.width..][..self.width]
    }
}

/// A row's keys and values.
pub struct History {
    head_dim: usize,
    len: usize,
    heads: Vec<HeadHistory>,
}

/// One head of a [`History`], padded with zeros to whole panels of [`LANES`] positions.
#[derive(Default)]
pub(super) struct HeadHistory {
    /// `(panels, width, LANES)`: a panel holds one dimension of 16 neighbouring keys side by side.
    pub(super) keys: Vec<f32>,
    /// `(panels × LANES, width)`
    pub(super) values: Vec<f32>,
}

impl History {
    /// Copies and rounds `len` keys and values.
    ///
    /// # Panics
    /// Where a source is too short.
    #[must_use]
    pub fn new(
        cpu: &Cpu,
        rounding: Rounding,
        [keys, values]: [Source; 2],
        (heads, head_dim): (usize, usize),
        len: usize,
    ) -> History {
        let mut all: Vec<HeadHistory> = (0..heads).map(|_| HeadHistory::default()).collect();
        cpu.pool().run_chunks(&mut all, 1, |head, out| {
            out[0] = HeadHistory::new(rounding, [keys, values], head, head_dim, len);
        });
        History {
            head_dim,
            len,
            heads: all,
        }
    }

    /// Heads, and the width of each.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.heads.len(), self.head_dim)
    }

    /// Positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    pub(super) fn head(&self, head: usize) -> &HeadHistory {
        &self.heads[head]
    }
}

impl HeadHistory {
    fn new(
        rounding: Rounding,
        [keys, values]: [Source; 2],
        head: usize,
        head_dim: usize,
        len: usize,
    ) -> HeadHistory {
        let (width, padded) = (
            head_dim.next_multiple_of(LANES),
            len.next_multiple_of(LANES),
        );
        let mut out = HeadHistory {
            keys: vec![0.0; padded * width],
            values: vec![0.0; padded * width],
        };
        let mut key = vec![0.0; head_dim];
        for position in 0..len {
            key.copy_from_slice(keys.part(head, position, head_dim));
            rounding.round(&mut key);
            let panel = &mut out.keys[position / LANES * LANES * width..][..LANES * width];
            for (dim, x) in key.iter().enumerate() {
                panel[dim * LANES + position % LANES] = *x;
            }
            let value = &mut out.values[position * width..][..head_dim];
            value.copy_from_slice(values.part(head, position, head_dim));
            rounding.round(value);
        }
        out
    }
}
