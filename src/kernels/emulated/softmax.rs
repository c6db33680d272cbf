//! The online softmax: what a tile of queries remembers of the keys that it has met.
//!
//! Of each query: the highest score so far `m`, the sum of `exp(score - m)`, and the values weighed by
//! the same. A new tile of keys may raise `m`; all that was summed up is then scaled down by
//! `exp(old m - new m)`. Dividing the weighed values by the sum gives the output.

use std::ops::Range;

use super::operands::{HeadHistory, HeadQueries};
use crate::kernels::simd::{LANES, Simd, math};

/// Queries whose products are computed together.
const GROUP: usize = 8;

/// How many keys each query sees.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    causal: bool,
    queries: usize,
    keys: usize,
}

impl Seen {
    pub(super) fn new(causal: bool, queries: usize, keys: usize) -> Seen {
        Seen {
            causal,
            queries,
            keys,
        }
    }

    /// Keys that query `row` of the call sees: `0 ..` this.
    #[inline(always)]
    pub(super) fn by(self, row: usize) -> usize {
        if !self.causal {
            return self.keys;
        }
        (self.keys + row + 1)
            .saturating_sub(self.queries)
            .min(self.keys)
    }
}

/// What a tile of queries remembers.
pub(super) struct Running {
    /// The first query of the tile, and how many there are.
    first: usize,
    rows: usize,
    width: usize,
    /// Per query: the highest score.
    pub(super) max: Vec<f32>,
    /// Per query: the sum of `exp(score - max)`.
    pub(super) sum: Vec<f32>,
    /// `(rows, width)`: the values, weighed by `exp(score - max)`.
    weighed: Vec<f32>,
    /// `(rows, keys of a tile)`: scores, then probabilities.
    scores: Vec<f32>,
}

impl Running {
    pub(super) fn new(rows: &Range<usize>, width: usize) -> Running {
        let count = rows.len();
        Running {
            first: rows.start,
            rows: count,
            width,
            max: vec![f32::NEG_INFINITY; count],
            sum: vec![0.0; count],
            weighed: vec![0.0; count * width],
            scores: Vec::new(),
        }
    }

    /// Meets `keys`, of which each query takes those that it sees.
    #[inline(always)]
    pub(super) fn absorb<S: Simd>(
        &mut self,
        s: S,
        queries: HeadQueries<'_>,
        history: &HeadHistory,
        keys: Range<usize>,
        seen: Seen,
    ) {
        let panels = keys.start / LANES..keys.end.div_ceil(LANES);
        let stride = panels.len() * LANES;
        self.scores.resize(self.rows * stride, 0.0);
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            if left == 1 {
                self.score::<S, 1>(s, queries, history, row, &keys, seen);
            } else {
                self.score::<S, GROUP>(s, queries, history, row, &keys, seen);
            }
            row += GROUP.min(left);
        }
        for row in 0..self.rows {
            self.renew(s, row, stride);
        }
        let values = &history.values[panels.start * LANES * self.width..];
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            if left == 1 {
                self.weigh::<S, 1>(s, values, row, stride);
            } else {
                self.weigh::<S, GROUP>(s, values, row, stride);
            }
            row += GROUP.min(left);
        }
    }

    /// Scaled scores of up to `R` queries from `row` on; minus infinity where a key is not seen.
    #[inline(always)]
    fn score<S: Simd, const R: usize>(
        &mut self,
        s: S,
        queries: HeadQueries<'_>,
        history: &HeadHistory,
        row: usize,
        keys: &Range<usize>,
        seen: Seen,
    ) {
        // Beyond the last query, the last one again: computed and thrown away.
        let last = self.rows - 1;
        let left: [&[f32]; R] =
            std::array::from_fn(|r| queries.row(self.first + last.min(row + r)));
        let (scale, hidden) = (s.splat(queries.scale), s.splat(f32::NEG_INFINITY));
        let panels = keys.start / LANES..keys.end.div_ceil(LANES);
        let stride = panels.len() * LANES;
        for (i, panel) in panels.enumerate() {
            let right = &history.keys[panel * LANES * self.width..][..LANES * self.width];
            let sums = products::<S, R>(s, left, right, LANES, [s.splat(0.0); R]);
            for (r, sum) in sums.into_iter().enumerate().take(self.rows - row) {
                let end = keys.end.min(seen.by(self.first + row + r));
                let lanes = s.mask(lanes_within(panel * LANES, keys.start..end));
                let score = s.select(lanes, s.mul(sum, scale), hidden);
                s.store_some(
                    score,
                    &mut self.scores[(row + r) * stride + i * LANES..][..LANES],
                );
            }
        }
    }

    /// Turns a query's scores into probabilities and brings what it remembers up to the new maximum.
    #[inline(always)]
    fn renew<S: Simd>(&mut self, s: S, row: usize, stride: usize) {
        let scores = &mut self.scores[row * stride..][..stride];
        let old = self.max[row];
        let mut top = s.splat(old);
        for lanes in scores.chunks_exact(LANES) {
            top = s.max(top, s.load_some(lanes, 0.0));
        }
        let max = s.largest(top);
        // Who has seen nothing yet has no maximum to subtract.
        let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
        let mut total = s.splat(0.0);
        for lanes in scores.chunks_exact_mut(LANES) {
            let p = math::exp(s, s.sub(s.load_some(lanes, 0.0), s.splat(base)));
            total = s.add(total, p);
            s.store_some(p, lanes);
        }
        let shrink = s.array(math::exp(s, s.splat(old - base)))[0];
        self.max[row] = max;
        self.sum[row] = self.sum[row] * shrink + s.total(total);
        for x in &mut self.weighed[row * self.width..][..self.width] {
            *x *= shrink;
        }
    }

    /// Adds the values, weighed by the probabilities of up to `R` queries from `row` on.
    #[inline(always)]
    fn weigh<S: Simd, const R: usize>(&mut self, s: S, values: &[f32], row: usize, stride: usize) {
        let last = self.rows - 1;
        let rows: [usize; R] = std::array::from_fn(|r| last.min(row + r));
        let left: [&[f32]; R] = rows.map(|row| &self.scores[row * stride..][..stride]);
        for column in (0..self.width).step_by(LANES) {
            let at = |row: usize| row * self.width + column;
            let sums = rows.map(|row| s.load_some(&self.weighed[at(row)..][..LANES], 0.0));
            let sums = products::<S, R>(s, left, &values[column..], self.width, sums);
            for (r, sum) in sums.into_iter().enumerate().take(self.rows - row) {
                s.store_some(
                    sum,
                    &mut self.weighed[(row + r) * self.width + column..][..LANES],
                );
            }
        }
    }

    /// The values of query `row` of the tile, undivided.
    pub(super) fn weighed(&self, row: usize) -> &[f32] {
        &self.weighed[row * self.width..][..self.width]
    }

    /// The finished output of query `row` of the tile; 0 for one that saw nothing.
    pub(super) fn finish(&self, row: usize, out: &mut [f32]) {
        let sum = self.sum[row];
        for (out, x) in out.iter_mut().zip(self.weighed(row)) {
            *out = if sum > 0.0 { x / sum } else { 0.0 };
        }
    }
}

/// `sums[r] + Σ left[r][k] × right[k × stride ..][.. 16]`, in the order of `k`.
#[inline(always)]
fn products<S: Simd, const R: usize>(
    s: S,
    left: [&[f32]; R],
    right: &[f32],
    stride: usize,
    mut sums: [S::F; R],
) -> [S::F; R] {
    let len = left[0].len();
    for (k, right) in right.chunks(stride).take(len).enumerate() {
        let right = s.load_some(right, 0.0);
        for (sum, left) in sums.iter_mut().zip(left) {
            *sum = s.fma(s.splat(left[k]), right, *sum);
        }
    }
    sums
}

/// Which of the 16 keys from `first` on are within a range, lowest bit first.
#[inline(always)]
fn lanes_within(first: usize, keys: Range<usize>) -> u16 {
    let below = |end: usize| match end.saturating_sub(first) {
        n @ 0..LANES => (1u16 << n) - 1,
        _ => u16::MAX,
    };
    below(keys.end) & !below(keys.start)
}
