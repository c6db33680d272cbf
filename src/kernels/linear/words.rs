//! What the loops of all kinds of weights read by.

use super::layout::CHUNK;
use crate::kernels::simd::Simd;
use crate::kernels::storage::LINE;

/// Words of four bytes in a chunk.
pub(super) const QUADS: usize = CHUNK / 4;

/// How far ahead of their use weights are asked for when they come from memory. The hardware does that
/// by itself within a page of 4 KiB; for one or two rows, which wait for memory anyway, it does better
/// alone.
const AHEAD_BYTES: usize = 2048;

/// Asks for weights behind these.
#[inline(always)]
pub(super) fn fetch_ahead<S: Simd, T>(s: S, weights: &T) {
    let place = std::ptr::from_ref(weights)
        .cast::<u8>()
        .wrapping_add(AHEAD_BYTES);
    for line in 0..size_of::<T>().div_ceil(LINE) {
        s.prefetch_read(place.wrapping_add(LINE * line));
    }
}

/// Each row's words from `i` on.
#[inline(always)]
pub(super) fn each_row<S: Simd, const R: usize, const N: usize>(
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
