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
        self.visible.map_or(keys, |first| (first + i as isize).clamp(0, keys as isize) as usize)
    }
}

/// Where a tile keeps its numbers.
#[derive(Default)]
pub(super) struct Scratch {
    query: Vec<u32>,
    scores: Vec<f32>,
    probabilities: Vec<u32>,
    out: Vec<f32>,
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

/// Sums of `LEFT` rows of left operands with `N` vectors of columns, over `steps`.
#[inline(always)]
fn products<V: Vector, P: Product<V>, const LEFT: usize, const N: usize>(
    left: &[u32],
    left_stride: usize,
    start: [i32; LEFT],
    right: &[P::Item],
    right_stride: usize,
    steps: usize,
) -> [[P::Sum; N]; LEFT] {
    let mut sums = start.map(|at| [P::start(at); N]);
    let left: [&[u32]; LEFT] = std::array::from_fn(|row| &left[row * left_stride..][..steps]);
    for step in 0..steps {
        let right = &right[step * right_stride..][..N * V::LANES];
        let right: [P::Right; N] = std::array::from_fn(|n| P::load(&right[n * V::LANES..]));
        for row in 0..LEFT {
            let word = left[row][step];
            for n in 0..N {
                sums[row][n] = P::step(sums[row][n], word, right[n]);
            }
        }
    }
    sums
}

/// [`products`] for `width` columns; `take` gets each vector of columns with every row's sums.
#[inline(always)]
fn columns<V: Vector, P: Product<V>, const LEFT: usize, const N: usize>(
    left: (&[u32], usize),
    start: [i32; LEFT],
    right: (&[P::Item], usize),
    steps: usize,
    width: usize,
    mut take: impl FnMut(usize, [P::Sum; LEFT]),
) {
    let mut column = 0;
    while column + N * V::LANES <= width {
        let right_items = &right.0[column..];
        let sums = products::<V, P, LEFT, N>(left.0, left.1, start, right_items, right.1, steps);
        for n in 0..N {
            take(column + n * V::LANES, std::array::from_fn(|row| sums[row][n]));
        }
        column += N * V::LANES;
    }
    while column < width {
        let right_items = &right.0[column..];
        let sums = products::<V, P, LEFT, 1>(left.0, left.1, start, right_items, right.1, steps);
        take(column, std::array::from_fn(|row| sums[row][0]));
        column += V::LANES;
    }
}

/// The sums of query `q`'s one or two left rows.
#[inline(always)]
fn of_query<S: Copy, const LEFT: usize>(sums: &[S; LEFT], rows: usize, q: usize) -> [S; 2] {
    [sums[q * rows], sums[q * rows + rows - 1]]
}

/// Attends with up to `LEFT / S::ROWS` queries; `N` vectors of columns are kept in registers at a time.
/// `write` gets each query's number and its `head_dim` outputs.
#[inline(always)]
pub(super) fn attend_tile<V: Vector, S: Scheme<V>, const LEFT: usize, const N: usize>(
    packed: &Packed,
    head: usize,
    queries: Queries,
    scratch: &mut Scratch,
    mut write: impl FnMut(usize, &[f32]),
) {
    let tile = Tile::<V, S, LEFT, N>::new(packed, head, queries, scratch);
    let mut running = [Running { highest: LOWEST, sum: 0.0, old: 1.0, new: 1.0 }; LEFT];
    let horizon = queries.sees(queries.count - 1, packed.positions);
    for first in (0..horizon).step_by(BLOCK) {
        let width = (lanes(packed.positions) - first).min(BLOCK);
        tile.scores(first, width, scratch);
        tile.hide(first, width, scratch);
        tile.softmax(width, scratch, &mut running);
        tile.values(first, width, scratch, &running);
    }
    tile.finish(scratch, &running, &mut write);
}

struct Tile<'a, V: Vector, S: Scheme<V>, const LEFT: usize, const N: usize> {
    packed: &'a Packed,
    head: usize,
    queries: Queries<'a>,
    keys: &'a [Item<V, S::Score>],
    values: &'a [Item<V, S::Value>],
    scaled: [Scaled; LEFT],
    start: [i32; LEFT],
}

impl<'a, V: Vector, S: Scheme<V>, const LEFT: usize, const N: usize> Tile<'a, V, S, LEFT, N> {
    const QUERIES: usize = LEFT / S::ROWS;

    /// Writes the queries' left rows and clears the outputs.
    #[inline(always)]
    fn new(packed: &'a Packed, head: usize, queries: Queries<'a>, scratch: &mut Scratch) -> Self {
        let head_dim = packed.head_dim;
        let steps = depth(head_dim) / S::Score::TERMS;
        let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();
        scratch.query.clear();
        scratch.query.resize(LEFT * steps, 0);
        let mut scaled = [Scaled::default(); LEFT];
        let mut start = [0; LEFT];
        for q in 0..Self::QUERIES.min(queries.count) {
            let query = queries.rows.part(queries.first + q, queries.column, head_dim);
            scaled[q] = S::query(query, scale, &mut scratch.query[q * S::ROWS * steps..], steps);
            for row in 0..S::ROWS {
                start[q * S::ROWS + row] = scaled[q].start[row];
            }
        }
        scratch.scores.resize(Self::QUERIES * BLOCK, 0.0);
        scratch.probabilities.resize(LEFT * BLOCK, 0);
        scratch.out.clear();
        scratch.out.resize(Self::QUERIES * lanes(head_dim), 0.0);
        let planes = &packed.heads[head];
        let (keys, values) = (S::keys(&planes.keys), S::values(&planes.values));
        Tile { packed, head, queries, keys, values, scaled, start }
    }

    /// Scores, in bits, of `width` keys from `first` on.
    #[inline(always)]
    fn scores(&self, first: usize, width: usize, scratch: &mut Scratch) {
        let steps = depth(self.packed.head_dim) / S::Score::TERMS;
        let key_scale = &self.packed.heads[self.head].key_scale;
        let Scratch { query, scores, .. } = scratch;
        for panel in first / PANEL..(first + width).div_ceil(PANEL) {
            let panel_width = panel_width(self.packed.positions, panel);
            let right = (&self.keys[panel * PANEL * steps..], panel_width);
            let at = panel * PANEL - first;
            columns::<V, S::Score, LEFT, N>(
                (query.as_slice(), steps),
                self.start,
                right,
                steps,
                panel_width,
                |column, sums| {
                    let key_scale = key_scale.get(panel * PANEL + column..).unwrap_or(&[]);
                    for q in 0..Self::QUERIES {
                        let sums = of_query(&sums, S::ROWS, q);
                        let score = S::score(sums, self.scaled[q].factor, key_scale);
                        V::store(score, &mut scores[q * BLOCK + at + column..]);
                    }
                },
            );
        }
    }

    /// Takes out padding, and keys that a query may not see.
    #[inline(always)]
    fn hide(&self, first: usize, width: usize, scratch: &mut Scratch) {
        for q in 0..Self::QUERIES {
            let seen = self.queries.sees(q, self.packed.positions).saturating_sub(first).min(width);
            scratch.scores[q * BLOCK..][seen..width].fill(NEVER);
        }
    }

    /// Turns scores into probabilities against the block's maximum.
    #[inline(always)]
    fn softmax(&self, width: usize, scratch: &mut Scratch, running: &mut [Running; LEFT]) {
        let stride = BLOCK / S::Value::TERMS;
        for (q, running) in running.iter_mut().enumerate().take(Self::QUERIES) {
            let scores = &scratch.scores[q * BLOCK..][..width];
            let mut highest = V::splat(LOWEST);
            for scores in scores.chunks_exact(V::LANES) {
                highest = V::max(highest, V::load(scores));
            }
            let block_highest = V::maximum(highest);
            let left = &mut scratch.probabilities[q * S::ROWS * stride..];
            let shift = V::splat(block_highest);
            let mut sum = V::splat(0.0);
            for (i, scores) in scores.chunks_exact(V::LANES).enumerate() {
                let bits = V::sub(V::load(scores), shift);
                sum = S::probability(bits, sum, &mut left[i * V::LANES / S::Value::TERMS..], stride);
            }
            let highest = running.highest.max(block_highest);
            running.old = (running.highest - highest).exp2();
            running.new = (block_highest - highest).exp2();
            running.sum = running.sum * running.old + V::sum(sum) * running.new;
            running.highest = highest;
        }
    }

    /// Adds the block's values.
    #[inline(always)]
    fn values(&self, first: usize, width: usize, scratch: &mut Scratch, running: &[Running; LEFT]) {
        let out_width = lanes(self.packed.head_dim);
        let Scratch { probabilities, out, .. } = scratch;
        columns::<V, S::Value, LEFT, N>(
            (probabilities.as_slice(), BLOCK / S::Value::TERMS),
            [0; LEFT],
            (&self.values[first / S::Value::TERMS * out_width..], out_width),
            width / S::Value::TERMS,
            out_width,
            |column, sums| {
                for q in 0..Self::QUERIES {
                    let new = S::value(of_query(&sums, S::ROWS, q));
                    let out = &mut out[q * out_width + column..];
                    let old = V::mul(V::load(out), V::splat(running[q].old));
                    V::store(V::fma(new, V::splat(running[q].new), old), out);
                }
            },
        );
    }

    /// Divides by the sums and hands the outputs over.
    #[inline(always)]
    fn finish(
        &self,
        scratch: &mut Scratch,
        running: &[Running; LEFT],
        write: &mut impl FnMut(usize, &[f32]),
    ) {
        let (head_dim, out_width) = (self.packed.head_dim, lanes(self.packed.head_dim));
        let value_scale = &self.packed.heads[self.head].value_scale;
        for (q, running) in running.iter().enumerate().take(self.queries.count.min(Self::QUERIES)) {
            let inverse = if running.sum > 0.0 { 1.0 / running.sum } else { 0.0 };
            let out = &mut scratch.out[q * out_width..][..head_dim];
            if value_scale.is_empty() {
                out.iter_mut().for_each(|x| *x *= inverse);
            } else {
                out.iter_mut().zip(value_scale).for_each(|(x, scale)| *x *= inverse * scale);
            }
            write(q, out);
        }
    }
}
