//! The multiplication itself: a block of rows times a panel of 32 outputs, sums held in registers.
//!
//! A float sum is one chain, `sum = fma(x[k], w[n][k], sum)` with `k` rising: the same bytes for any
//! number of rows and at every level. A byte sum is an exact integer.

#![expect(unsafe_code, reason = "tasks write disjoint parts of one output")]

use std::ops::Range;

use bytemuck::cast_slice;

use super::LinearCall;
use super::layout::{CHUNK, PANEL};
use super::nibbles::{GROUP, PANEL_GROUP, SCALES};
use super::pack::{PackedLinear, QuantisedWeights};
use super::prepare::{GroupScale, RowScale};
use crate::kernels::pool::SharedSlice;
use crate::kernels::simd::{LANES, Simd, Task, each_word, math};
use crate::kernels::storage::LINE;

/// Prepared rows, and the weights of their kind.
#[derive(Clone, Copy)]
pub(super) enum Operands<'a> {
    F32 {
        x: &'a [f32],
        w: &'a [f32],
    },
    F16 {
        x: &'a [f32],
        w: &'a [u16],
    },
    I8 {
        x: &'a [u8],
        scales: &'a [RowScale],
        w: &'a QuantisedWeights,
    },
    I4 {
        x: &'a [u8],
        scales: &'a [GroupScale],
        w: &'a [u32],
    },
}

/// Some prepared rows times some panels.
pub(super) struct Multiply<'a> {
    pub(super) layer: &'a PackedLinear,
    pub(super) call: &'a LinearCall<'a>,
    pub(super) operands: Operands<'a>,
    /// Whether the weights come from memory and not from a cache.
    pub(super) streaming: bool,
    /// Which rows of the call the prepared ones are.
    pub(super) rows: Range<usize>,
    /// Which panels to use.
    pub(super) panels: Range<usize>,
    /// Which panel the float weights start with.
    pub(super) first_panel: usize,
    pub(super) out: &'a SharedSlice<'a, f32>,
}

impl Task for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.rows.len();
        // Sums pass through memory here so that the code after them exists once, not once per size.
        let mut sums = Sums([[[0.0; LANES]; 2]; MAX_ROWS]);
        for panel in self.panels.clone() {
            for first in (0..count).step_by(S::TILE_ROWS) {
                let rows = (count - first).min(S::TILE_ROWS);
                self.prefetch(s, panel, self.rows.start + first, rows);
                self.block(s, panel, first, &mut sums.0[..rows]);
                self.finish(s, panel, first, &sums.0[..rows]);
            }
        }
    }
}

/// The most rows of a tile, at any level.
const MAX_ROWS: usize = 12;

/// Sums of a block and a panel: those of bytes are scaled back already. Aligned to cache lines, and the function's
/// stack by that: AVX2 has too few registers for a tile of bytes, and a spilled one that lies across two lines is
/// slow to write and read back (7 to 10 % of an encoder pass).
#[repr(align(64))]
struct Sums([[[f32; LANES]; 2]; MAX_ROWS]);
/// The sums of some rows.
type RowSums = [[[f32; LANES]; 2]];

/// Calls `$self.tile::<S, R>` for the `R` that is the number of rows, among those the level has.
macro_rules! for_rows {
    ($self:ident, $s:ident, $panel:ident, $first:ident, $sums:ident, $($r:literal)+) => {
        match $sums.len() {
            $($r if $r <= S::TILE_ROWS => $self.tile::<S, $r>($s, $panel, $first, $sums),)+
            _ => unreachable!("a block has at most TILE_ROWS rows"),
        }
    };
}

impl Multiply<'_> {
    /// Rows of the output and of the residual are far apart: without this, every tile waits for its lines.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, panel: usize, first: usize, rows: usize) {
        for row in first..first + rows {
            let place = row * self.layer.n_out() + panel * PANEL;
            s.prefetch(self.out.place(place));
            s.prefetch(self.out.place(place + LANES));
            if let Some(residual) = self.call.residual {
                let place = residual.as_ptr().wrapping_add(place).cast::<u8>();
                s.prefetch_read(place);
                s.prefetch_read(place.wrapping_add(LINE));
            }
        }
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, panel: usize, first: usize, sums: &mut RowSums) {
        for_rows!(self, s, panel, first, sums, 1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&self, s: S, panel: usize, first: usize, to: &mut RowSums) {
        // Groups have sums of two kinds, of which more would not fit the registers.
        let narrow = matches!(self.operands, Operands::I4 { .. }) && R > 6;
        if S::TILE_VECTORS == 2 && !narrow {
            self.columns::<S, R, 2>(s, panel, first, 0, to);
        } else {
            self.columns::<S, R, 1>(s, panel, first, 0, to);
            self.columns::<S, R, 1>(s, panel, first, 1, to);
        }
    }

    /// `C` vectors of a panel's outputs, from vector `v` on.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const C: usize>(
        &self,
        s: S,
        panel: usize,
        first: usize,
        v: usize,
        to: &mut RowSums,
    ) {
        let size = self.layer.k() * PANEL;
        let x_range = first * self.layer.k()..(first + R) * self.layer.k();
        let range = (panel - self.first_panel) * size..(panel - self.first_panel + 1) * size;
        let once = self.streaming && first == 0 && v == 0;
        let ahead = once && R >= AHEAD_ROWS;
        let sums = match self.operands {
            Operands::F32 { x, w } => {
                float_sums::<S, f32, R, C>(s, &x[x_range], &w[range], v, ahead)
            }
            Operands::F16 { x, w } => {
                float_sums::<S, u16, R, C>(s, &x[x_range], &w[range], v, ahead)
            }
            Operands::I8 { x, scales, w } => {
                let bytes = &w.bytes.numbers()[range];
                let sums = byte_sums::<S, R, C>(s, &x[x_range], bytes, v, ahead);
                let scales = scales[first..].first_chunk().expect("a scale per row");
                dequantise(s, sums, scales, w, 2 * panel + v)
            }
            Operands::I4 { x, scales, w } => {
                let groups = self.layer.k() / GROUP;
                let scales = &scales[first * groups..(first + R) * groups];
                let w = &w[panel * groups * PANEL_GROUP..][..groups * PANEL_GROUP];
                group_sums::<S, R, C>(s, &x[x_range], scales, w, v, once)
            }
        };
        for (to, sums) in to.iter_mut().zip(sums) {
            for c in 0..C {
                s.store(sums[c], &mut to[v + c]);
            }
        }
    }

    /// Bias, GELU, residual: then the outputs of a block and a panel are done.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, panel: usize, first: usize, sums: &RowSums) {
        let n_out = self.layer.n_out();
        let columns = (panel * PANEL..n_out.min((panel + 1) * PANEL)).step_by(LANES);
        for (half, column) in columns.enumerate() {
            let bias = s.load_some(&self.layer.bias.numbers()[column..], 0.0);
            for (row, sums) in (self.rows.start + first..).zip(sums) {
                let mut y = s.add(s.load(&sums[half]), bias);
                if self.call.gelu {
                    y = math::gelu(s, y);
                }
                let range = row * n_out + column..row * n_out + n_out.min(column + LANES);
                if let Some(residual) = self.call.residual {
                    y = s.add(y, s.load_some(&residual[range.clone()], 0.0));
                }
                // SAFETY: the tasks of a call have different rows or different panels.
                s.store_some(y, unsafe { self.out.range(range) });
            }
        }
    }
}

/// A stored weight that can be widened to f32.
trait Weight: Copy {
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F;
}

impl Weight for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::F {
        s.load(from)
    }
}

impl Weight for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u16; LANES]) -> S::F {
        s.load_f16(from)
    }
}

/// How far ahead of their use weights are asked for when they come from memory. The hardware does that
/// by itself within a page of 4 KiB; for one or two rows, which wait for memory anyway, it does better
/// alone.
const AHEAD_BYTES: usize = 2048;
/// Rows from which on it pays.
const AHEAD_ROWS: usize = 4;
/// The same for groups of 4 bits, and for any number of rows: what is done with a group leaves the processor no
/// room to read far ahead by itself.
const AHEAD_GROUPS: usize = 16 * PANEL_GROUP * size_of::<u32>();

#[inline(always)]
fn fetch_ahead<S: Simd, T>(s: S, weights: &T, bytes: usize) {
    let place = std::ptr::from_ref(weights).cast::<u8>().wrapping_add(bytes);
    for line in 0..size_of::<T>().div_ceil(LINE) {
        s.prefetch_read(place.wrapping_add(LINE * line));
    }
}

/// `C` vectors of a panel's outputs, from vector `v` on, of `R` rows.
#[inline(always)]
fn float_sums<S: Simd, W: Weight, const R: usize, const C: usize>(
    s: S,
    x: &[f32],
    w: &[W],
    v: usize,
    ahead: bool,
) -> [[S::F; C]; R] {
    let mut sums = [[s.splat(0.0); C]; R];
    let x = cast_slice(x).as_chunks::<CHUNK>().0.as_chunks::<R>().0;
    let w = w
        .as_chunks::<LANES>()
        .0
        .as_chunks::<2>()
        .0
        .as_chunks::<CHUNK>()
        .0;
    for (x, w) in x.iter().zip(w) {
        if ahead {
            fetch_ahead(s, w, AHEAD_BYTES);
        }
        for i in (0..CHUNK).step_by(S::WORDS) {
            let words = each_row(s, x, i);
            each_word!(S, lane, {
                let mut columns = [W::load(s, &w[i + lane][v]); C];
                for c in 1..C {
                    columns[c] = W::load(s, &w[i + lane][v + c]);
                }
                for r in 0..R {
                    for c in 0..C {
                        sums[r][c] = s.fma_word(words[r], lane, columns[c], sums[r][c]);
                    }
                }
            });
        }
    }
    sums
}

/// Each row's words from `i` on.
#[inline(always)]
fn each_row<S: Simd, const R: usize, const N: usize>(
    s: S,
    x: &[[u32; N]; R],
    i: usize,
) -> [S::Words; R] {
    let mut words = [s.words(&x[0], i); R];
    for r in 1..R {
        words[r] = s.words(&x[r], i);
    }
    words
}

/// Words of four bytes in a chunk.
const QUADS: usize = CHUNK / 4;

#[inline(always)]
fn byte_sums<S: Simd, const R: usize, const C: usize>(
    s: S,
    x: &[u8],
    w: &[i8],
    v: usize,
    ahead: bool,
) -> [[S::I; C]; R] {
    let mut sums = [[s.splat_i32(0); C]; R];
    let x = cast_slice(x).as_chunks::<QUADS>().0.as_chunks::<R>().0;
    let w = w
        .as_chunks::<{ 4 * LANES }>()
        .0
        .as_chunks::<2>()
        .0
        .as_chunks::<QUADS>()
        .0;
    for (x, w) in x.iter().zip(w) {
        if ahead {
            fetch_ahead(s, w, AHEAD_BYTES);
        }
        for i in (0..QUADS).step_by(S::WORDS) {
            let words = each_row(s, x, i);
            each_word!(S, lane, {
                let mut columns = [s.bytes(&w[i + lane][v]); C];
                for c in 1..C {
                    columns[c] = s.bytes(&w[i + lane][v + c]);
                }
                for r in 0..R {
                    for c in 0..C {
                        sums[r][c] = s.dot4(sums[r][c], words[r], lane, columns[c]);
                    }
                }
            });
        }
    }
    sums
}

/// `Σ (sum of a group) × scale of its inputs × scale of its weights`, groups one after another.
#[inline(always)]
fn group_sums<S: Simd, const R: usize, const C: usize>(
    s: S,
    x: &[u8],
    scales: &[GroupScale],
    w: &[u32],
    v: usize,
    ahead: bool,
) -> [[S::F; C]; R] {
    let mut sums = [[s.splat(0.0); C]; R];
    let x = cast_slice(x).as_chunks::<QUADS>().0.as_chunks::<R>().0;
    let (x, w) = (x.as_chunks::<2>().0, w.as_chunks::<PANEL_GROUP>().0);
    let groups = w.len();
    for (g, (x, w)) in x.iter().zip(w).enumerate() {
        if ahead {
            fetch_ahead(s, w, AHEAD_GROUPS);
        }
        let mut ints = [[s.splat_i32(0); C]; R];
        for r in 0..R {
            ints[r] = [s.splat_i32(scales[r * groups + g].start); C];
        }
        let (w_scales, w) = w.split_at(SCALES);
        let words = w.as_chunks::<LANES>().0.as_chunks::<QUADS>().0;
        half_a_group::<S, false, R, C>(s, &mut ints, &x[0], &words[v..]);
        half_a_group::<S, true, R, C>(s, &mut ints, &x[1], &words[v..]);
        let w_scales = cast_slice::<u32, u16>(w_scales).as_chunks().0;
        for c in 0..C {
            let w_scale = s.load_f16(&w_scales[v + c]);
            for r in 0..R {
                let x_scale = s.splat(scales[r * groups + g].scale);
                let sum = s.mul(s.float(ints[r][c]), x_scale);
                sums[r][c] = s.fma(sum, w_scale, sums[r][c]);
            }
        }
    }
    sums
}

/// Adds the products of 16 inputs: the low halves of the weights' bytes, or the high ones.
#[inline(always)]
fn half_a_group<S: Simd, const HIGH: bool, const R: usize, const C: usize>(
    s: S,
    sums: &mut [[S::I; C]; R],
    x: &[[u32; QUADS]; R],
    w: &[[[u32; LANES]; QUADS]],
) {
    for i in (0..QUADS).step_by(S::WORDS) {
        let words = each_row(s, x, i);
        each_word!(S, lane, {
            for c in 0..C {
                let nibbles = s.nibbles::<HIGH>(s.load_words(&w[c][i + lane]));
                for r in 0..R {
                    sums[r][c] = s.dot_nibbles(sums[r][c], words[r], lane, nibbles);
                }
            }
        });
    }
}

/// `(sum - zero × sum of weights) × (scale of the row × scale of the output)`, from vector `v` of all outputs on.
#[inline(always)]
fn dequantise<S: Simd, const R: usize, const C: usize>(
    s: S,
    sums: [[S::I; C]; R],
    rows: &[RowScale; R],
    w: &QuantisedWeights,
    v: usize,
) -> [[S::F; C]; R] {
    let scales = &w.scales.numbers().as_chunks::<LANES>().0[v..][..C];
    let byte_sums = &w.sums.numbers().as_chunks::<LANES>().0[v..][..C];
    let mut floats = [[s.splat(0.0); C]; R];
    for c in 0..C {
        let (scale, byte_sum) = (s.load(&scales[c]), s.load_i32(&byte_sums[c]));
        for r in 0..R {
            let shift = s.mul_i32(s.splat_i32(rows[r].zero), byte_sum);
            let scale = s.mul(s.splat(rows[r].scale), scale);
            floats[r][c] = s.mul(s.float(s.sub_i32(sums[r][c], shift)), scale);
        }
    }
    floats
}

/// How many rows a block has.
pub(super) struct TileRows;

impl Task<usize> for TileRows {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::TILE_ROWS
    }
}

/// Widens half-precision weights.
pub(super) struct Widen<'a> {
    pub(super) from: &'a [u16],
    pub(super) to: &'a mut [f32],
}

impl Task for Widen<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (from, to) in self
            .from
            .as_chunks()
            .0
            .iter()
            .zip(self.to.as_chunks_mut().0)
        {
            s.store(s.load_f16(from), to);
        }
    }
}
