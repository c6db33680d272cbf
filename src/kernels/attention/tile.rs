//! A few queries against one head's packed keys and values.
//!
//! Blocks of [`BLOCK`] keys: scores, probabilities against the block's maximum, values; then the block
//! joins the queries' running sums (online softmax). Only a block's scores are ever held. What happens
//! to a query never depends on the queries beside it.

use super::panels::{PANEL, PackedKv, Rows, depth, lanes, panel_width};
use super::products::{Left, products};
use super::scheme::{Product, Scaled, Scheme};
use crate::kernels::simd::math::exp2;
use crate::kernels::simd::{LANES, Simd};

/// Keys whose scores are held at once.
const BLOCK: usize = 4 * PANEL;
/// At least the queries of a tile, whole vectors at every level.
const MOST: usize = 16;
/// Stands for minus infinity, but two of them may be subtracted, and 64 times it is a 32-bit integer.
const NEVER: f32 = -1e7;
/// Where running maxima start: above [`NEVER`], below any score.
const LOWEST: f32 = -1e6;

/// QueryChunk of one head.
#[derive(Clone, Copy)]
pub(super) struct QueryChunk<'a> {
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

impl QueryChunk<'_> {
    /// How many of `keys` the `i`th query sees.
    fn sees(&self, i: usize, keys: usize) -> usize {
        self.visible.map_or(keys, |first| {
            (first + i as isize).clamp(0, keys as isize) as usize
        })
    }
}

/// Where a chunk of queries keeps its numbers.
#[derive(Default)]
pub(super) struct TileScratch {
    /// Left rows of the queries.
    query: Vec<u32>,
    scaled: Vec<Scaled>,
    /// One query, padded to whole vectors.
    row: Vec<f32>,
    running: OnlineSoftmax,
    /// Outputs so far, [`lanes`] of `head_dim` per query.
    out: Vec<f32>,
    /// Scores of one tile, [`BLOCK`] per query.
    scores: Vec<f32>,
    /// Left rows of one tile's probabilities.
    probabilities: Vec<u32>,
}

/// The queries' online softmax.
#[derive(Default)]
struct OnlineSoftmax {
    /// The highest score of each query.
    highest: Vec<f32>,
    /// Sums of probabilities, a vector in [`MOST`] numbers per query.
    sums: Vec<f32>,
}

impl OnlineSoftmax {
    fn start(&mut self, queries: usize) {
        self.highest.clear();
        self.highest.resize(queries, LOWEST);
        self.sums.clear();
        self.sums.resize(queries * MOST, 0.0);
    }

    /// Takes in the block maxima of `count` queries from `first` on. What the outputs and sums so far,
    /// and the block's own, are multiplied by to join.
    #[inline(always)]
    fn join<V: Simd>(&mut self, v: V, first: usize, count: usize, tops: &[f32; MOST]) -> Join {
        let [mut highest, mut old, mut new] = [[LOWEST; MOST]; 3];
        let place = &mut self.highest[first..first + count];
        highest[..count].copy_from_slice(place);
        for at in (0..MOST).step_by(LANES) {
            let (before, now) = (v.load_first(&highest[at..]), v.load_first(&tops[at..]));
            let top = v.max(before, now);
            v.store_first(exp2(v, v.sub(before, top)), &mut old[at..]);
            v.store_first(exp2(v, v.sub(now, top)), &mut new[at..]);
            v.store_first(top, &mut highest[at..]);
        }
        place.copy_from_slice(&highest[..count]);
        Join { old, new }
    }
}

/// What the queries of a tile are multiplied by when a block joins.
struct Join {
    old: [f32; MOST],
    new: [f32; MOST],
}

/// What there is from `start` on.
#[inline(always)]
fn from<T>(items: &[T], start: usize) -> &[T] {
    items.get(start..).unwrap_or(&[])
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
pub(super) fn attend_chunk<V: Simd, S: Scheme, const N: usize>(
    v: V,
    packed: &PackedKv,
    head: usize,
    queries: QueryChunk,
    scratch: &mut TileScratch,
    write: impl FnMut(usize, &[f32]),
) {
    prepare::<V, S>(v, packed, queries, scratch);
    let horizon = queries.sees(queries.count - 1, packed.positions);
    for first in (0..horizon).step_by(BLOCK) {
        let width = (lanes(packed.positions) - first).min(BLOCK);
        let mut query = 0;
        while query < queries.count {
            let count = (queries.count - query).min(V::TILE_LEFT / S::ROWS);
            match count * S::ROWS {
                1 => Tile::<V, S, 1, N>::new(v, packed, head, queries, query)
                    .block(first, width, scratch),
                2 if S::ROWS == 2 => {
                    Tile::<V, S, 2, N>::new(v, packed, head, queries, query)
                        .block(first, width, scratch);
                }
                2 | 3 => Tile::<V, S, 3, N>::new(v, packed, head, queries, query)
                    .block(first, width, scratch),
                _ if V::TILE_LEFT == 4 => Tile::<V, S, 4, N>::new(v, packed, head, queries, query)
                    .block(first, width, scratch),
                _ => Tile::<V, S, 6, N>::new(v, packed, head, queries, query)
                    .block(first, width, scratch),
            }
            query += count;
        }
    }
    finish(v, packed, head, queries.count, scratch, write);
}

/// Writes the queries' left rows and clears what is kept per query.
#[inline(always)]
fn prepare<V: Simd, S: Scheme>(
    v: V,
    packed: &PackedKv,
    queries: QueryChunk,
    scratch: &mut TileScratch,
) {
    let head_dim = packed.head_dim;
    let steps = depth(head_dim) / S::Score::TERMS;
    let scale = std::f32::consts::LOG2_E / (head_dim as f32).sqrt();
    // A tile may be wider than the queries that are left.
    let count = queries.count + 6;
    scratch.query.clear();
    scratch.query.resize(count * S::ROWS * steps + MOST, 0);
    scratch.scaled.clear();
    scratch.row.clear();
    scratch.row.resize(lanes(head_dim), 0.0);
    for q in 0..queries.count {
        let query = queries
            .rows
            .part(queries.first + q, queries.column, head_dim);
        scratch.row[..head_dim].copy_from_slice(query);
        let left = &mut scratch.query[q * S::ROWS * steps..];
        scratch
            .scaled
            .push(S::query(v, &scratch.row, scale, left, steps));
    }
    scratch.scaled.resize(count, Scaled::default());
    scratch.running.start(count);
    scratch.out.clear();
    scratch.out.resize(count * lanes(head_dim), 0.0);
    scratch.scores.resize(6 * BLOCK, 0.0);
    scratch.probabilities.resize(6 * BLOCK, 0);
}

/// Divides by the sums and hands the outputs over.
#[inline(always)]
fn finish<V: Simd>(
    v: V,
    packed: &PackedKv,
    head: usize,
    count: usize,
    scratch: &mut TileScratch,
    mut write: impl FnMut(usize, &[f32]),
) {
    let (head_dim, out_width) = (packed.head_dim, lanes(packed.head_dim));
    let value_scale = &packed.heads[head].value_scale;
    for q in 0..count {
        let sum = v.total(v.load_first(&scratch.running.sums[q * MOST..]));
        let inverse = if sum > 0.0 { 1.0 / sum } else { 0.0 };
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

/// Repeats `$body` for each `$q` below `$count`, 6 at most: a loop that the compiler leaves a loop would
/// keep all sums in memory, in the loop before it, too.
macro_rules! unrolled {
    ($q:ident < $count:expr, $body:block) => {
        unrolled!(@ $q, $count, $body, 0 1 2 3 4 5)
    };
    (@ $q:ident, $count:expr, $body:block, $($n:literal)+) => {
        $(if $n < $count {
            let $q = $n;
            $body
        })+
    };
}

/// `LEFT` left rows of neighbouring queries.
struct Tile<'a, V: Simd, S: Scheme, const LEFT: usize, const N: usize> {
    v: V,
    packed: &'a PackedKv,
    head: usize,
    queries: QueryChunk<'a>,
    /// The first of the chunk's queries that the tile holds.
    query: usize,
    keys: &'a [<S::Score as Product>::Item],
    values: &'a [<S::Value as Product>::Item],
}

impl<'a, V: Simd, S: Scheme, const LEFT: usize, const N: usize> Tile<'a, V, S, LEFT, N> {
    const QUERIES: usize = LEFT / S::ROWS;

    #[inline(always)]
    fn new(v: V, packed: &'a PackedKv, head: usize, queries: QueryChunk<'a>, query: usize) -> Self {
        let packed_head = &packed.heads[head];
        let (keys, values) = (packed_head.keys.items(), packed_head.values.items());
        Tile {
            v,
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
    fn block(&self, first: usize, width: usize, scratch: &mut TileScratch) {
        let v = self.v;
        let mut highest = [v.splat(LOWEST); LEFT];
        self.scores(first, width, scratch, &mut highest);
        let join = self.softmax(width, scratch, &highest);
        self.values(first, width, scratch, &join);
    }

    /// Scores, in bits, of `width` keys from `first` on, and the highest of each query's.
    #[inline(always)]
    fn scores(
        &self,
        first: usize,
        width: usize,
        scratch: &mut TileScratch,
        highest: &mut [V::F; LEFT],
    ) {
        for panel in first / PANEL..(first + width).div_ceil(PANEL) {
            let panel_width = panel_width(self.packed.positions, panel);
            let mut column = 0;
            while column + N * LANES <= panel_width {
                self.score_columns::<N>(first, panel, column, scratch, highest);
                column += N * LANES;
            }
            while column < panel_width {
                self.score_columns::<1>(first, panel, column, scratch, highest);
                column += LANES;
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
        scratch: &mut TileScratch,
        highest: &mut [V::F; LEFT],
    ) {
        let v = self.v;
        // The sums of all left rows (at most six) with `C` vectors of keys, then the keys and one broadcast
        // word, are what the registers hold: 24 + 4 + 1 of 32 in AVX-512, 12 + 2 + 1 of 16 in AVX2. Scores
        // leave them once, and their maxima are taken on the way.
        let steps = depth(self.packed.head_dim) / S::Score::TERMS;
        let words = &scratch.query[self.query * S::ROWS * steps..];
        let scaled = &scratch.scaled[self.query..][..Self::QUERIES];
        let mut start = [0; LEFT];
        unrolled!(q < Self::QUERIES, {
            start[q * S::ROWS] = scaled[q].start[0];
            start[q * S::ROWS + S::ROWS - 1] = scaled[q].start[S::ROWS - 1];
        });
        let left = Left {
            words,
            stride: steps,
            start,
        };
        let keys = &self.keys[panel * PANEL * steps + column..];
        let stride = panel_width(self.packed.positions, panel);
        let (terms, out_width) = (S::Value::TERMS, lanes(self.packed.head_dim));
        let values = from(self.values, panel * PANEL / terms * out_width + column);
        let sums = products::<V, S::Score, _, LEFT, C>(v, left, keys, stride, steps, values);
        let key = panel * PANEL + column;
        let mut key_scales = [v.splat(1.0); C];
        if S::KEY_SCALES {
            let from = &self.packed.heads[self.head].key_scale[key..][..C * LANES];
            for (c, scale) in key_scales.iter_mut().enumerate() {
                *scale = v.load_first(&from[c * LANES..]);
            }
        }
        let before = *highest;
        unrolled!(q < Self::QUERIES, {
            let factor = v.splat(scratch.scaled[self.query + q].factor);
            let to = &mut scratch.scores[q * BLOCK + key - first..][..C * LANES];
            for c in 0..C {
                let score = S::score(v, of_query(&sums, S::ROWS, q, c), factor, key_scales[c]);
                v.store_first(score, &mut to[c * LANES..]);
                highest[q] = v.max(highest[q], score);
            }
        });
        // A tile's later queries see as much as its first, or more.
        if key + C * LANES > self.queries.sees(self.query, self.packed.positions) {
            *highest = before;
            for (q, highest) in highest.iter_mut().enumerate().take(Self::QUERIES) {
                let scores = &mut scratch.scores[q * BLOCK + key - first..][..C * LANES];
                self.hide(q, key, scores);
                for scores in scores.chunks_exact(LANES) {
                    *highest = v.max(*highest, v.load_first(scores));
                }
            }
        }
    }

    /// Takes out padding, and keys that query `q` may not see, of scores from `key` on.
    fn hide(&self, q: usize, key: usize, scores: &mut [f32]) {
        let seen = self.queries.sees(self.query + q, self.packed.positions);
        let seen = seen.saturating_sub(key).min(scores.len());
        scores[seen..].fill(NEVER);
    }

    /// Turns scores into probabilities against the block's maximum.
    #[inline(always)]
    fn softmax(&self, width: usize, scratch: &mut TileScratch, highest: &[V::F; LEFT]) -> Join {
        let v = self.v;
        let stride = BLOCK / S::Value::TERMS;
        let mut tops = [LOWEST; MOST];
        for q in 0..Self::QUERIES {
            tops[q] = v.largest(highest[q]);
        }
        let join = scratch.running.join(v, self.query, Self::QUERIES, &tops);
        for (q, &top) in tops.iter().enumerate().take(Self::QUERIES) {
            let scores = &scratch.scores[q * BLOCK..][..width];
            let left = &mut scratch.probabilities[q * S::ROWS * stride..];
            let shift = v.splat(top - S::ONE_BITS);
            let block = S::probabilities(v, scores, shift, left, stride);
            let sum = &mut scratch.running.sums[(self.query + q) * MOST..];
            let old = v.mul(v.load_first(sum), v.splat(join.old[q]));
            v.store_first(v.fma(block, v.splat(join.new[q]), old), sum);
        }
        join
    }

    /// Adds the block's values.
    #[inline(always)]
    fn values(&self, first: usize, width: usize, scratch: &mut TileScratch, join: &Join) {
        let out_width = lanes(self.packed.head_dim);
        let starts = Self::value_starts(width, scratch);
        let mut column = 0;
        while column + N * LANES <= out_width {
            self.value_columns::<N>(first, width, column, scratch, join, starts);
            column += N * LANES;
        }
        while column < out_width {
            self.value_columns::<1>(first, width, column, scratch, join, starts);
            column += LANES;
        }
    }

    /// What takes back that values are stored 128 too high, for each left row.
    #[inline(always)]
    fn value_starts(width: usize, scratch: &TileScratch) -> [i32; LEFT] {
        let mut starts = [0; LEFT];
        if S::Value::OFFSET && !V::MIXED_SIGNS {
            let words = scratch.probabilities.chunks_exact(BLOCK / S::Value::TERMS);
            for (start, words) in starts.iter_mut().zip(words) {
                let bytes: &[u8] = bytemuck::cast_slice(&words[..width / S::Value::TERMS]);
                *start = -128 * bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
            }
        }
        starts
    }

    /// Adds the values of a block to `C` vectors of outputs.
    #[inline(always)]
    fn value_columns<const C: usize>(
        &self,
        first: usize,
        width: usize,
        column: usize,
        scratch: &mut TileScratch,
        join: &Join,
        start: [i32; LEFT],
    ) {
        let v = self.v;
        let (out_width, terms) = (lanes(self.packed.head_dim), S::Value::TERMS);
        let words = &scratch.probabilities;
        let left = Left {
            words,
            stride: BLOCK / terms,
            start,
        };
        let values = &self.values[first / terms * out_width + column..];
        let steps = depth(self.packed.head_dim) / S::Score::TERMS;
        let keys = from(self.keys, (first + BLOCK) * steps + column);
        let sums =
            products::<V, S::Value, _, LEFT, C>(v, left, values, out_width, width / terms, keys);
        for q in 0..Self::QUERIES {
            let (old, new) = (join.old[q], join.new[q]);
            let out = &mut scratch.out[(self.query + q) * out_width + column..][..C * LANES];
            for c in 0..C {
                let block = v.mul(S::value(v, of_query(&sums, S::ROWS, q, c)), v.splat(new));
                let out = &mut out[c * LANES..];
                v.store_first(v.fma(v.load_first(out), v.splat(old), block), out);
            }
        }
    }
}
