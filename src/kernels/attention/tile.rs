//! A few queries against one head's packed keys and values.
//!
//! Blocks of [`BLOCK`] keys: scores, probabilities against the block's maximum, values; then the block
//! joins the queries' running sums (online softmax). Only a block's scores are ever held. What happens
//! to a query never depends on the queries beside it.

use super::packed::{PANEL, Packed, Rows, depth, lanes, panel_width};
use super::scheme::{Item, Product, Scaled, Scheme};
use super::vector::Vector;

/// Keys whose scores are held at once.
const BLOCK: usize = 4 * PANEL;
/// Stands for minus infinity, but two of them may be subtracted.
const NEVER: f32 = -1e30;
/// Where running maxima start: above [`NEVER`], below any score.
const LOWEST: f32 = -1e20;

/// Queries of one head.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    /// All rows.
    pub(super) rows: Rows<'a>,
    /// The head's first number in a row.
    pub(super) column: usize,
    /// The first query's row.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
    /// How many keys the first query sees, if each later one sees one more; otherwise all see all.
    pub(super) visible: Option<isize>,
}

impl Queries<'_> {
    /// How many of `keys` the `i`th query sees.
    fn sees(&self, i: usize, keys: usize) -> usize {
        self.visible.map_or(keys, |first| {
            (first + i as isize).clamp(0, keys as isize) as usize
        })
    }
}

/// Where a chunk of queries keeps its numbers.
#[derive(Default)]
pub(super) struct Scratch {
    /// Left rows of the queries.
    query: Vec<u32>,
    scaled: Vec<Scaled>,
    running: Vec<Running>,
    /// Outputs so far, [`lanes`] of `head_dim` per query.
    out: Vec<f32>,
    /// Scores of one tile, [`BLOCK`] per query.
    scores: Vec<f32>,
    /// Left rows of one tile's probabilities.
    probabilities: Vec<u32>,
}

/// One query's online softmax.
#[derive(Clone, Copy)]
struct Running {
    highest: f32,
    sum: f32,
    /// What the outputs so far, and the block's own, are multiplied by to join.
    old: f32,
    new: f32,
}

impl Running {
    const START: Running = Running {
        highest: LOWEST,
        sum: 0.0,
        old: 1.0,
        new: 1.0,
    };

    /// Takes in a block's maximum and its sum relative to that.
    #[inline(always)]
    fn join(&mut self, block_highest: f32, block_sum: f32) {
        let step = block_highest - self.highest;
        (self.old, self.new) = if step > 0.0 {
            ((-step).exp2(), 1.0)
        } else {
            (1.0, step.exp2())
        };
        self.highest = self.highest.max(block_highest);
        self.sum = self.sum * self.old + block_sum * self.new;
    }
}

/// Left operands: `LEFT` rows `stride` apart, and where their sums start.
#[derive(Clone, Copy)]
struct Left<'a, const LEFT: usize> {
    words: &'a [u32],
    stride: usize,
    start: [i32; LEFT],
}

/// Sums over `steps` of `LEFT` rows of left operands with `C` vectors of columns.
///
/// No closures here and in what follows: one that is not inlined would lose the instruction set.
#[inline(always)]
fn products<V: Vector, P: Product<V>, const LEFT: usize, const C: usize>(
    left: Left<LEFT>,
    right: &[P::Item],
    right_stride: usize,
    steps: usize,
) -> [[P::Sum; C]; LEFT] {
    let mut sums = [[P::start(0); C]; LEFT];
    let mut rows = [left.words; LEFT];
    for row in 0..LEFT {
        sums[row] = [P::start(left.start[row]); C];
        rows[row] = &left.words[row * left.stride..][..steps];
    }
    for step in 0..steps {
        let items = &right[step * right_stride..][..C * V::LANES];
        let mut columns = [P::load(items); C];
        for (c, column) in columns.iter_mut().enumerate().skip(1) {
            *column = P::load(&items[c * V::LANES..]);
        }
        for row in 0..LEFT {
            let word = rows[row][step];
            for c in 0..C {
                sums[row][c] = P::step(sums[row][c], word, columns[c]);
            }
        }
    }
    sums
}

/// The sums of query `q`'s one or two left rows.
#[inline(always)]
fn of_query<S: Copy, const LEFT: usize, const C: usize>(
    sums: &[[S; C]; LEFT],
    rows: usize,
    q: usize,
    c: usize,
) -> [S; 2] {
    [sums[q * rows][c], sums[q * rows + rows - 1][c]]
}

/// Attends with a chunk of queries; `N` vectors of columns are kept in registers at a time.
/// `write` gets each query's number and its `head_dim` outputs.
///
/// Block by block for the whole chunk, so that a block's keys and values are read from near.
#[inline(always)]
pub(super) fn attend_chunk<V: Vector, S: Scheme<V>, const N: usize>(
    packed: &Packed,
    head: usize,
    queries: Queries,
    scratch: &mut Scratch,
    write: impl FnMut(usize, &[f32]),
) {
    prepare::<V, S>(packed, queries, scratch);
    let horizon = queries.sees(queries.count - 1, packed.positions);
    for first in (0..horizon).step_by(BLOCK) {
        let width = (lanes(packed.positions) - first).min(BLOCK);
        let mut query = 0;
        while query < queries.count {
            let count = (queries.count - query).min(6 / S::ROWS);
            match count * S::ROWS {
                1 => Tile::<V, S, 1, N>::new(packed, head, queries, query)
                    .block(first, width, scratch),
                2 if S::ROWS == 2 => {
                    Tile::<V, S, 2, N>::new(packed, head, queries, query)
                        .block(first, width, scratch);
                }
                2 | 3 => Tile::<V, S, 3, N>::new(packed, head, queries, query)
                    .block(first, width, scratch),
                _ => Tile::<V, S, 6, N>::new(packed, head, queries, query)
                    .block(first, width, scratch),
            }
            query += count;
        }
    }
    finish(packed, head, queries.count, scratch, write);
}

/// Writes the queries' left rows and clears what is kept per query.
#[inline(always)]
fn prepare<V: Vector, S: Scheme<V>>(packed: &Packed, queries: Queries, scratch: &mut Scratch) {
    let head_dim = packed.head_dim;
    let steps = depth(head_dim) / S::Score::TERMS;
    let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();
    // A tile may be wider than the queries that are left.
    let count = queries.count + 6;
    scratch.query.clear();
    scratch.query.resize(count * S::ROWS * steps, 0);
    scratch.scaled.clear();
    for q in 0..queries.count {
        let query = queries
            .rows
            .part(queries.first + q, queries.column, head_dim);
        let left = &mut scratch.query[q * S::ROWS * steps..];
        scratch.scaled.push(S::query(query, scale, left, steps));
    }
    scratch.scaled.resize(count, Scaled::default());
    scratch.running.clear();
    scratch.running.resize(count, Running::START);
    scratch.out.clear();
    scratch.out.resize(count * lanes(head_dim), 0.0);
    scratch.scores.resize(6 * BLOCK, 0.0);
    scratch.probabilities.resize(6 * BLOCK, 0);
}

/// Divides by the sums and hands the outputs over.
#[inline(always)]
fn finish(
    packed: &Packed,
    head: usize,
    count: usize,
    scratch: &mut Scratch,
    mut write: impl FnMut(usize, &[f32]),
) {
    let (head_dim, out_width) = (packed.head_dim, lanes(packed.head_dim));
    let value_scale = &packed.heads[head].value_scale;
    for (q, running) in scratch.running.iter().enumerate().take(count) {
        let inverse = if running.sum > 0.0 {
            1.0 / running.sum
        } else {
            0.0
        };
        let out = &mut scratch.out[q * out_width..][..head_dim];
        if value_scale.is_empty() {
            out.iter_mut().for_each(|x| *x *= inverse);
        } else {
            out.iter_mut()
                .zip(value_scale)
                .for_each(|(x, scale)| *x *= inverse * scale);
        }
        write(q, out);
    }
}

/// `LEFT` left rows of neighbouring queries.
struct Tile<'a, V: Vector, S: Scheme<V>, const LEFT: usize, const N: usize> {
    packed: &'a Packed,
    head: usize,
    queries: Queries<'a>,
    /// The first of the chunk's queries that the tile holds.
    query: usize,
    keys: &'a [Item<V, S::Score>],
    values: &'a [Item<V, S::Value>],
}

impl<'a, V: Vector, S: Scheme<V>, const LEFT: usize, const N: usize> Tile<'a, V, S, LEFT, N> {
    const QUERIES: usize = LEFT / S::ROWS;

    #[inline(always)]
    fn new(packed: &'a Packed, head: usize, queries: Queries<'a>, query: usize) -> Self {
        let planes = &packed.heads[head];
        let (keys, values) = (S::keys(&planes.keys), S::values(&planes.values));
        Tile {
            packed,
            head,
            queries,
            query,
            keys,
            values,
        }
    }

    /// All of one block of keys.
    #[inline(always)]
    fn block(&self, first: usize, width: usize, scratch: &mut Scratch) {
        self.scores(first, width, scratch);
        self.hide(first, width, scratch);
        self.softmax(width, scratch);
        self.values(first, width, scratch);
    }

    /// Scores, in bits, of `width` keys from `first` on.
    #[inline(always)]
    fn scores(&self, first: usize, width: usize, scratch: &mut Scratch) {
        for panel in first / PANEL..(first + width).div_ceil(PANEL) {
            let panel_width = panel_width(self.packed.positions, panel);
            let mut column = 0;
            while column + N * V::LANES <= panel_width {
                self.score_columns::<N>(first, panel, column, scratch);
                column += N * V::LANES;
            }
            while column < panel_width {
                self.score_columns::<1>(first, panel, column, scratch);
                column += V::LANES;
            }
        }
    }

    /// Scores of `C` vectors of keys of a panel.
    #[inline(always)]
    fn score_columns<const C: usize>(
        &self,
        first: usize,
        panel: usize,
        column: usize,
        scratch: &mut Scratch,
    ) {
        let steps = depth(self.packed.head_dim) / S::Score::TERMS;
        let words = &scratch.query[self.query * S::ROWS * steps..];
        let mut start = [0; LEFT];
        for q in 0..Self::QUERIES {
            let starts = scratch.scaled[self.query + q].start;
            start[q * S::ROWS..(q + 1) * S::ROWS].copy_from_slice(&starts[..S::ROWS]);
        }
        let left = Left {
            words,
            stride: steps,
            start,
        };
        let keys = &self.keys[panel * PANEL * steps + column..];
        let stride = panel_width(self.packed.positions, panel);
        let sums = products::<V, S::Score, LEFT, C>(left, keys, stride, steps);
        let key = panel * PANEL + column;
        let mut key_scales = [V::splat(1.0); C];
        if S::KEY_SCALES {
            let from = &self.packed.heads[self.head].key_scale[key..][..C * V::LANES];
            for (c, scale) in key_scales.iter_mut().enumerate() {
                *scale = V::load(&from[c * V::LANES..]);
            }
        }
        // Short bodies: loops that are not unrolled would keep the sums in memory all the while.
        for q in 0..Self::QUERIES {
            let factor = V::splat(scratch.scaled[self.query + q].factor);
            let to = &mut scratch.scores[q * BLOCK + key - first..][..C * V::LANES];
            for c in 0..C {
                let score = S::score(of_query(&sums, S::ROWS, q, c), factor, key_scales[c]);
                V::store(score, &mut to[c * V::LANES..]);
            }
        }
    }

    /// Takes out padding, and keys that a query may not see.
    #[inline(always)]
    fn hide(&self, first: usize, width: usize, scratch: &mut Scratch) {
        for q in 0..Self::QUERIES {
            let seen = self.queries.sees(self.query + q, self.packed.positions);
            let seen = seen.saturating_sub(first).min(width);
            scratch.scores[q * BLOCK..][seen..width].fill(NEVER);
        }
    }

    /// Turns scores into probabilities against the block's maximum.
    #[inline(always)]
    fn softmax(&self, width: usize, scratch: &mut Scratch) {
        let stride = BLOCK / S::Value::TERMS;
        for q in 0..Self::QUERIES {
            let scores = &scratch.scores[q * BLOCK..][..width];
            let mut highest = V::splat(LOWEST);
            for scores in scores.chunks_exact(V::LANES) {
                highest = V::max(highest, V::load(scores));
            }
            let block_highest = V::maximum(highest);
            let left = &mut scratch.probabilities[q * S::ROWS * stride..];
            let shift = V::splat(block_highest - S::ONE_BITS);
            let mut sum = V::splat(0.0);
            for (i, scores) in scores.chunks_exact(V::LANES).enumerate() {
                let bits = V::sub(V::load(scores), shift);
                sum = S::probability(
                    bits,
                    sum,
                    &mut left[i * V::LANES / S::Value::TERMS..],
                    stride,
                );
            }
            let sum = S::total(sum, left, width / S::Value::TERMS);
            scratch.running[self.query + q].join(block_highest, sum);
        }
    }

    /// Adds the block's values.
    #[inline(always)]
    fn values(&self, first: usize, width: usize, scratch: &mut Scratch) {
        let out_width = lanes(self.packed.head_dim);
        let mut column = 0;
        while column + N * V::LANES <= out_width {
            self.value_columns::<N>(first, width, column, scratch);
            column += N * V::LANES;
        }
        while column < out_width {
            self.value_columns::<1>(first, width, column, scratch);
            column += V::LANES;
        }
    }

    /// Adds the values of a block to `C` vectors of outputs.
    #[inline(always)]
    fn value_columns<const C: usize>(
        &self,
        first: usize,
        width: usize,
        column: usize,
        scratch: &mut Scratch,
    ) {
        let (out_width, terms) = (lanes(self.packed.head_dim), S::Value::TERMS);
        let words = &scratch.probabilities;
        let left = Left {
            words,
            stride: BLOCK / terms,
            start: [0; LEFT],
        };
        let values = &self.values[first / terms * out_width + column..];
        let sums = products::<V, S::Value, LEFT, C>(left, values, out_width, width / terms);
        for q in 0..Self::QUERIES {
            let Running { old, new, .. } = scratch.running[self.query + q];
            let out = &mut scratch.out[(self.query + q) * out_width + column..][..C * V::LANES];
            for c in 0..C {
                let block = V::mul(S::value(of_query(&sums, S::ROWS, q, c)), V::splat(new));
                let out = &mut out[c * V::LANES..];
                V::store(V::fma(V::load(out), V::splat(old), block), out);
            }
        }
    }
}
