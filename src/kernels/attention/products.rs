//! The inner loop: a few left rows times a few vectors of columns, sums held in registers.

use super::panels::PANEL;
use super::scheme::Product;
use crate::kernels::simd::{LANES, Simd, each_word};

/// Left operands: `LEFT` rows `stride` apart, and where their sums start.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, const LEFT: usize> {
    pub(super) words: &'a [u32],
    pub(super) stride: usize,
    pub(super) start: [i32; LEFT],
}

/// A tile of so many left rows computes for longer than memory takes to follow.
const BUSY: usize = 4;

/// Sums over `steps` of `LEFT` rows of left operands with `C` vectors of columns. Meanwhile `next`, as
/// long as `right`, is fetched: few rows would wait for memory, whose order the hardware does not guess.
///
/// No closures here and in what follows: one that is not inlined would lose the instruction set.
#[inline(always)]
pub(super) fn products<V: Simd, P: Product, N, const LEFT: usize, const C: usize>(
    v: V,
    left: Left<LEFT>,
    right: &[P::Item],
    right_stride: usize,
    steps: usize,
    next: &[N],
) -> [[P::Sum<V>; C]; LEFT] {
    if V::WORDS == 1 {
        one_word::<V, P, N, LEFT, C>(v, left, right, right_stride, steps, next)
    } else {
        four_words::<V, P, N, LEFT, C>(v, left, right, right_stride, steps, next)
    }
}

/// [`products`] where a word is read where it is used, which the compiler makes part of the product.
#[inline(always)]
fn one_word<V: Simd, P: Product, N, const LEFT: usize, const C: usize>(
    v: V,
    left: Left<LEFT>,
    right: &[P::Item],
    right_stride: usize,
    steps: usize,
    next: &[N],
) -> [[P::Sum<V>; C]; LEFT] {
    let mut sums = [[P::start(v, 0); C]; LEFT];
    let mut rows = [left.words; LEFT];
    for row in 0..LEFT {
        sums[row] = [P::start(v, left.start[row]); C];
        rows[row] = &left.words[row * left.stride..][..steps];
    }
    for step in 0..steps {
        let columns = columns::<V, P, N, LEFT, C>(v, right, next, step * right_stride);
        for row in 0..LEFT {
            let word = v.words(rows[row], step);
            for c in 0..C {
                sums[row][c] = P::step(v, sums[row][c], word, 0, columns[c]);
            }
        }
    }
    sums
}

/// [`products`] where four words are read at once. Nearly all rows of columns are [`PANEL`] long: from their
/// constant length the compiler knows that every step of four lies within. The others are looked at one by
/// one, and the last four steps, if the last row ends sooner.
#[inline(always)]
fn four_words<V: Simd, P: Product, N, const LEFT: usize, const C: usize>(
    v: V,
    left: Left<LEFT>,
    right: &[P::Item],
    right_stride: usize,
    steps: usize,
    next: &[N],
) -> [[P::Sum<V>; C]; LEFT] {
    let mut sums = [[P::start(v, 0); C]; LEFT];
    let mut rows = [left.words; LEFT];
    for row in 0..LEFT {
        sums[row] = [P::start(v, left.start[row]); C];
        // The last words that are read at once may be those of the next row, or of the room behind all.
        rows[row] = &left.words[row * left.stride..][..steps.next_multiple_of(V::WORDS)];
    }
    let mut done = 0;
    if right_stride == PANEL {
        let right = right.as_chunks::<PANEL>().0.as_chunks::<4>().0;
        let fours = rows.map(|words| words.as_chunks::<4>().0);
        let count = right.len().min(steps / 4);
        let fours = fours.map(|fours| &fours[..count]);
        for (i, right) in right[..count].iter().enumerate() {
            let mut words = [v.words(&fours[0][i], 0); LEFT];
            for row in 1..LEFT {
                words[row] = v.words(&fours[row][i], 0);
            }
            each_word!(V, lane, {
                let columns = load::<V, P, C>(v, &right[lane]);
                ask::<V, N, LEFT, C>(v, next, (4 * i + lane) * PANEL);
                step::<V, P, LEFT, C>(v, &mut sums, &words, lane, &columns);
            });
        }
        done = 4 * count;
    }
    for first in (done..steps).step_by(V::WORDS) {
        let mut words = [v.words(rows[0], first); LEFT];
        for row in 1..LEFT {
            words[row] = v.words(rows[row], first);
        }
        each_word!(V, lane, {
            if lane == 0 || first + lane < steps {
                let at = (first + lane) * right_stride;
                let columns = columns::<V, P, N, LEFT, C>(v, right, next, at);
                step::<V, P, LEFT, C>(v, &mut sums, &words, lane, &columns);
            }
        });
    }
    sums
}

/// Adds the products of a word of each left row.
#[inline(always)]
fn step<V: Simd, P: Product, const LEFT: usize, const C: usize>(
    v: V,
    sums: &mut [[P::Sum<V>; C]; LEFT],
    words: &[V::Words; LEFT],
    lane: usize,
    columns: &[P::Right<V>; C],
) {
    for row in 0..LEFT {
        for c in 0..C {
            sums[row][c] = P::step(v, sums[row][c], words[row], lane, columns[c]);
        }
    }
}

/// Reads a step's `C` vectors of columns, and asks for what few left rows would wait for.
#[inline(always)]
fn columns<V: Simd, P: Product, N, const LEFT: usize, const C: usize>(
    v: V,
    right: &[P::Item],
    next: &[N],
    at: usize,
) -> [P::Right<V>; C] {
    let columns = load::<V, P, C>(v, &right[at..]);
    ask::<V, N, LEFT, C>(v, next, at);
    columns
}

/// Reads `C` vectors.
#[inline(always)]
fn load<V: Simd, P: Product, const C: usize>(v: V, from: &[P::Item]) -> [P::Right<V>; C] {
    let items = &from[..C * LANES];
    let mut columns = [P::load(v, items); C];
    for (c, column) in columns.iter_mut().enumerate().skip(1) {
        *column = P::load(v, &items[c * LANES..]);
    }
    columns
}

/// Asks for the `C` vectors of `next` from `at` on, if there are few left rows.
#[inline(always)]
fn ask<V: Simd, N, const LEFT: usize, const C: usize>(v: V, next: &[N], at: usize) {
    if LEFT < BUSY {
        for c in 0..C {
            let place = next.as_ptr().wrapping_add(at + c * LANES);
            v.prefetch_read(place.cast());
        }
    }
}
