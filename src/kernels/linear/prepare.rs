//! Input rows made ready for the multiplication: normalised, quantised, interleaved.
//!
//! Rows are grouped in blocks of as many as a tile has; in a block, 16 inputs of each row lie side by
//! side: `[block][input / 16][row][16]`. The last block may have fewer rows.

use std::ops::Range;

use super::LinearCall;
use super::layout::CHUNK;
use super::nibbles::GROUP;
use super::norm::{self, Norm};
use crate::kernels::simd::{Simd, Task};

/// What a quantised row stands for: `x ≈ scale × (byte - zero)`.
#[derive(Clone, Copy, Default)]
pub(super) struct RowScale {
    pub(super) scale: f32,
    pub(super) zero: i32,
}

/// What a group of a row's inputs stands for, where weights have 4 bits: `x ≈ scale × signed byte`.
#[derive(Clone, Copy, Default)]
pub(super) struct GroupScale {
    pub(super) scale: f32,
    /// -8 times the sum of the bytes: where sums start, as weights are stored 8 too high.
    pub(super) start: i32,
}

/// Where prepared rows go.
pub(super) enum Target<'a> {
    Floats(&'a mut [f32]),
    Bytes(&'a mut [u8], &'a mut [RowScale]),
    /// Row after row of scales.
    Groups(&'a mut [u8], &'a mut [GroupScale]),
}

/// Prepares `rows` of a call.
pub(super) struct Prepare<'a> {
    pub(super) call: &'a LinearCall<'a>,
    pub(super) n_in: usize,
    pub(super) rows: Range<usize>,
    pub(super) target: Target<'a>,
    /// Room for one row, padded.
    pub(super) line: &'a mut [f32],
}

impl Task for Prepare<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (k, count) = (self.line.len(), self.rows.len());
        for index in 0..count {
            let start = (self.rows.start + index) * self.call.x_stride;
            let x = &self.call.x[start..start + self.n_in];
            match &self.call.norm {
                Some(norm) => norm::normalise(s, x, norm, self.line),
                None => self.line[..self.n_in].copy_from_slice(x),
            }
            self.line[self.n_in..].fill(0.0);
            let first = index / S::TILE_ROWS * S::TILE_ROWS;
            let place = Place {
                start: first * k + (index - first) * CHUNK,
                step: (count - first).min(S::TILE_ROWS) * CHUNK,
            };
            match &mut self.target {
                Target::Floats(to) => place.floats(self.line, to),
                Target::Bytes(to, scales) => {
                    scales[index] = place.bytes(s, self.line, self.n_in, to);
                }
                Target::Groups(to, scales) => {
                    place.groups(s, self.line, to, &mut scales[index * (k / GROUP)..]);
                }
            }
        }
    }
}

/// Where the chunks of one row go.
struct Place {
    start: usize,
    step: usize,
}

impl Place {
    #[inline(always)]
    fn floats(&self, line: &[f32], to: &mut [f32]) {
        for (i, chunk) in line.as_chunks::<CHUNK>().0.iter().enumerate() {
            to[self.start + i * self.step..][..CHUNK].copy_from_slice(chunk);
        }
    }

    /// Quantises to unsigned bytes whose range spans the row's values and 0, and takes 128 from all where the
    /// level multiplies signed ones; padding becomes any byte, as the weights there are 0.
    #[inline(always)]
    fn bytes<S: Simd>(&self, s: S, line: &[f32], n_in: usize, to: &mut [u8]) -> RowScale {
        let (low, high) = range(s, &line[..n_in.next_multiple_of(CHUNK)]);
        let span = high - low;
        let usable = span > 1e-30 && span < 1e30;
        let (scale, inverse) = if usable {
            (span / 255.0, 255.0 / span)
        } else {
            (1.0, 0.0)
        };
        let zero = (-low * inverse).round_ties_even() as i32;
        let (inverse, offset) = (s.splat(inverse), s.splat_i32(zero));
        for (i, chunk) in line.as_chunks::<CHUNK>().0.iter().enumerate() {
            let bytes = s.add_i32(s.round(s.mul(s.load(chunk), inverse)), offset);
            let to = to[self.start + i * self.step..].first_chunk_mut();
            let to = to.expect("the target holds every chunk");
            s.store_u8(bytes, to);
            if !S::MIXED_SIGNS {
                to.iter_mut().for_each(|byte| *byte ^= 128);
            }
        }
        let zero = if S::MIXED_SIGNS { zero } else { zero - 128 };
        RowScale { scale, zero }
    }

    /// Quantises each group to signed bytes from -127 to 127.
    #[inline(always)]
    fn groups<S: Simd>(&self, s: S, line: &[f32], to: &mut [u8], scales: &mut [GroupScale]) {
        let chunks = line.as_chunks::<CHUNK>().0.as_chunks::<2>().0;
        for (g, (chunks, scale)) in chunks.iter().zip(scales).enumerate() {
            let x = [s.load(&chunks[0]), s.load(&chunks[1])];
            let (low, high) = (s.smallest(s.min(x[0], x[1])), s.largest(s.max(x[0], x[1])));
            let furthest = high.max(-low);
            let usable = furthest > 1e-30 && furthest < 1e30;
            let (unit, inverse) = if usable {
                (furthest / 127.0, 127.0 / furthest)
            } else {
                (1.0, 0.0)
            };
            // Whole numbers of 127 at most: their sum is exact in floats, in any order.
            let mut sums = s.splat(0.0);
            for (half, x) in x.into_iter().enumerate() {
                let to = &mut to[self.start + (2 * g + half) * self.step..];
                let to = to.first_chunk_mut().expect("room for every chunk");
                let bytes = s.round(s.mul(x, s.splat(inverse)));
                s.store_low_bytes(bytes, to);
                sums = s.add(sums, s.float(bytes));
            }
            *scale = GroupScale {
                scale: unit,
                start: -8 * s.total(sums) as i32,
            };
        }
    }
}

/// The smallest and the largest of the values and 0.
#[inline(always)]
fn range<S: Simd>(s: S, line: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = (s.splat(0.0), s.splat(0.0));
    for chunk in line.as_chunks::<CHUNK>().0 {
        let x = s.load(chunk);
        low = s.min(x, low);
        high = s.max(x, high);
    }
    (s.smallest(low), s.largest(high))
}

/// A layer-norm's input and parameters fit together.
pub(super) fn check_norm(norm: &Norm, n_in: usize) {
    assert!(
        norm.weight.len() == n_in && norm.bias.len() == n_in,
        "a norm as wide as its input"
    );
}
