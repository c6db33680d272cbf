//! Sums of weights that have a scale for each group of inputs: exact integers within a group, groups added up in
//! floats, in order, by one multiply-add each. The same bytes for any number of rows and at every level.

use bytemuck::cast_slice;

use super::layout::CHUNK;
use super::micro_kernel::{QUADS, each_row, fetch_ahead};
use super::prepare::{GroupScale, RowScale, Starts};
use super::{nibbles, octets};
use crate::kernels::simd::{LANES, Simd, each_word};

/// Chunks of a group of bytes.
const CHUNKS: usize = octets::GROUP / CHUNK;

/// `(Σ (sum of a group) × scale of its weights) × scale of the row`, groups one after another. The sum of a group,
/// at most 64 × 127 × 32512, is an exact integer.
#[inline(always)]
pub(super) fn octet_sums<S: Simd, const R: usize, const C: usize>(
    s: S,
    x: &[u8],
    rows: &[RowScale; R],
    starts: &[Starts],
    w: &[u32],
    v: usize,
    ahead: bool,
) -> [[S::F; C]; R] {
    let mut sums = [[s.splat(0.0); C]; R];
    let x = cast_slice(x).as_chunks::<QUADS>().0.as_chunks::<R>().0;
    let x = x.as_chunks::<CHUNKS>().0.as_chunks::<2>().0;
    let w = w.as_chunks::<{ octets::PANEL_GROUP }>().0;
    let groups = w.len();
    for (g, ([high, low], w)) in x.iter().zip(w).enumerate() {
        if ahead {
            fetch_ahead(s, w);
        }
        let (w_scales, w) = w.split_at(octets::SCALES);
        let words = w.as_chunks::<LANES>().0.as_chunks::<{ octets::WORDS }>().0;
        let mut parts = [[[s.splat_i32(0); C]; R]; 2];
        for r in 0..R {
            parts[0][r] = [s.splat_i32(starts[r * groups + g][0]); C];
            parts[1][r] = [s.splat_i32(starts[r * groups + g][1]); C];
        }
        // Both bytes at once where the registers hold both kinds of sums beside the floats: weights are read once,
        // and few rows have as many chains of products as the processor works on.
        let words = &words[v..];
        if 3 * R * C <= S::TILE_ROWS * S::TILE_VECTORS {
            let [high_sums, low_sums] = &mut parts;
            both_products::<S, R, C>(s, [high_sums, low_sums], [high, low], words);
        } else {
            octet_products::<S, R, C>(s, &mut parts[0], high, words);
            octet_products::<S, R, C>(s, &mut parts[1], low, words);
        }
        let w_scales = cast_slice::<u32, u16>(w_scales).as_chunks().0;
        for c in 0..C {
            let w_scale = s.load_f16(&w_scales[v + c]);
            for r in 0..R {
                let sum = s.mul_i32(parts[0][r][c], s.splat_i32(256));
                let sum = s.float(s.add_i32(sum, parts[1][r][c]));
                sums[r][c] = s.fma(sum, w_scale, sums[r][c]);
            }
        }
    }
    for r in 0..R {
        let scale = s.splat(rows[r].scale);
        for sum in &mut sums[r] {
            *sum = s.mul(*sum, scale);
        }
    }
    sums
}

/// As [`octet_products`], for both bytes of the inputs.
#[inline(always)]
fn both_products<S: Simd, const R: usize, const C: usize>(
    s: S,
    sums: [&mut [[S::I; C]; R]; 2],
    x: [&[[[u32; QUADS]; R]; CHUNKS]; 2],
    w: &[[[u32; LANES]; octets::WORDS]],
) {
    let [high, low] = sums;
    for chunk in 0..CHUNKS {
        for i in (0..QUADS).step_by(S::WORDS) {
            let words = x.map(|x| each_row(s, &x[chunk], i));
            each_word!(S, lane, {
                for c in 0..C {
                    let bytes = s.of_one_sign(s.load_words(&w[c][chunk * QUADS + i + lane]));
                    for r in 0..R {
                        high[r][c] = s.dot_signed(high[r][c], words[0][r], lane, bytes);
                        low[r][c] = s.dot_signed(low[r][c], words[1][r], lane, bytes);
                    }
                }
            });
        }
    }
}

/// Adds the products of a group's weights with one byte of each of their inputs.
#[inline(always)]
fn octet_products<S: Simd, const R: usize, const C: usize>(
    s: S,
    sums: &mut [[S::I; C]; R],
    x: &[[[u32; QUADS]; R]; CHUNKS],
    w: &[[[u32; LANES]; octets::WORDS]],
) {
    for (chunk, x) in x.iter().enumerate() {
        for i in (0..QUADS).step_by(S::WORDS) {
            let words = each_row(s, x, i);
            each_word!(S, lane, {
                for c in 0..C {
                    let bytes = s.of_one_sign(s.load_words(&w[c][chunk * QUADS + i + lane]));
                    for r in 0..R {
                        sums[r][c] = s.dot_signed(sums[r][c], words[r], lane, bytes);
                    }
                }
            });
        }
    }
}

/// `Σ (sum of a group) × scale of its inputs × scale of its weights`, groups one after another.
#[inline(always)]
pub(super) fn nibble_sums<S: Simd, const R: usize, const C: usize>(
    s: S,
    x: &[u8],
    scales: &[GroupScale],
    w: &[u32],
    v: usize,
    ahead: bool,
) -> [[S::F; C]; R] {
    let mut sums = [[s.splat(0.0); C]; R];
    let x = cast_slice(x).as_chunks::<QUADS>().0.as_chunks::<R>().0;
    let (x, w) = (
        x.as_chunks::<2>().0,
        w.as_chunks::<{ nibbles::PANEL_GROUP }>().0,
    );
    let groups = w.len();
    for (g, (x, w)) in x.iter().zip(w).enumerate() {
        if ahead {
            fetch_ahead(s, w);
        }
        let mut ints = [[s.splat_i32(0); C]; R];
        for r in 0..R {
            ints[r] = [s.splat_i32(scales[r * groups + g].start); C];
        }
        let (w_scales, w) = w.split_at(nibbles::SCALES);
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
