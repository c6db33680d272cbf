//! Decoder self-attention of one row: a few queries against a growing cache.
//!
//! A new token's score is a dot product per position, as the cache lies position by position and a
//! beam's history may jump between its window's rows.

use super::cache::{BLOCK, GroupKv, Lineage, Stored, runs};
use crate::kernels::simd::math::exp2;
use crate::kernels::simd::{LANES, Simd};
use crate::kernels::storage::LINE;

/// One query of one head against the first `seen` positions of a beam's history.
#[inline(always)]
pub(super) fn attend_one<S: Simd>(
    s: S,
    cache: &GroupKv,
    lineage: &Lineage,
    (beam, head, seen): (usize, usize, usize),
    query: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    out.fill(0.0);
    if seen == 0 {
        return;
    }
    scores.clear();
    scores.resize(seen.next_multiple_of(LANES), -1e30);
    let history = &lineage.history(beam)[..seen];
    for (row, positions) in runs(history) {
        let scores = &mut scores[positions.clone()];
        match cache.keys_at(row, positions, head) {
            Stored::F32(keys) => score(s, query, keys, scores),
            Stored::F16(keys) => score(s, query, keys, scores),
        }
    }
    let inverse = 1.0
        / softmax(
            s,
            scores,
            std::f32::consts::LOG2_E / (query.len() as f32).sqrt(),
        );
    for (row, positions) in runs(history) {
        let p = &scores[positions.clone()];
        match cache.values_at(row, positions, head) {
            Stored::F32(values) => add(s, p, values, out),
            Stored::F16(values) => add(s, p, values, out),
        }
    }
    out.iter_mut().for_each(|x| *x *= inverse);
}

/// Turns scores into probabilities before division by their sum, which is returned.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32], scale: f32) -> f32 {
    let mut highest = s.splat(-1e20);
    for scores in scores.chunks_exact(LANES) {
        highest = s.max(highest, s.load_first(scores));
    }
    let highest = s.splat(s.largest(highest));
    let mut sum = s.splat(0.0);
    for scores in scores.chunks_exact_mut(LANES) {
        let p = exp2(
            s,
            s.mul(s.sub(s.load_first(scores), highest), s.splat(scale)),
        );
        sum = s.add(sum, p);
        s.store_first(p, scores);
    }
    s.total(sum)
}

/// What a cache may hold: f32, or f16 as bits.
trait CacheItem: Copy {
    fn load<S: Simd>(s: S, from: &[Self]) -> S::F;
    fn one(self) -> f32;
}

impl CacheItem for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32]) -> S::F {
        s.load_first(from)
    }
    #[inline(always)]
    fn one(self) -> f32 {
        self
    }
}

impl CacheItem for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u16]) -> S::F {
        s.load_f16(from.first_chunk().expect("a whole vector"))
    }
    #[inline(always)]
    fn one(self) -> f32 {
        half::f16::from_bits(self).to_f32()
    }
}

/// Asks for the same position of the next head, which lies a block further on and is read soon; the
/// hardware does not guess that, and a history is too long for the cache.
#[inline(always)]
fn fetch_next_head<S: Simd, T>(s: S, position: &[T]) {
    let next = position.as_ptr().wrapping_add(BLOCK * position.len());
    for line in (0..size_of_val(position)).step_by(LINE) {
        s.prefetch_read(next.cast::<u8>().wrapping_add(line));
    }
}

/// `query · key` for each key; whole vectors first, then what is left.
#[inline(always)]
fn score<S: Simd, T: CacheItem>(s: S, query: &[f32], keys: &[T], scores: &mut [f32]) {
    let whole = query.len() / LANES * LANES;
    for (key, score) in keys.chunks_exact(query.len()).zip(scores) {
        fetch_next_head(s, key);
        let mut sum = s.splat(0.0);
        for start in (0..whole).step_by(LANES) {
            sum = s.fma(
                s.load_first(&query[start..]),
                T::load(s, &key[start..]),
                sum,
            );
        }
        *score = s.total(sum);
        for (x, key) in query[whole..].iter().zip(&key[whole..]) {
            *score += x * key.one();
        }
    }
}

/// Vectors of a head of 64 numbers, which every published network has.
const HEAD: usize = 64 / LANES;

/// `out += p × value` for each value.
#[inline(always)]
fn add<S: Simd, T: CacheItem>(s: S, p: &[f32], values: &[T], out: &mut [f32]) {
    if out.len() == HEAD * LANES {
        return add_in_registers(s, p, values, out);
    }
    let whole = out.len() / LANES * LANES;
    for (value, &p) in values.chunks_exact(out.len()).zip(p) {
        fetch_next_head(s, value);
        for start in (0..whole).step_by(LANES) {
            let out = &mut out[start..];
            s.store_first(
                s.fma(s.splat(p), T::load(s, &value[start..]), s.load_first(out)),
                out,
            );
        }
        for (x, value) in out[whole..].iter_mut().zip(&value[whole..]) {
            *x += p * value.one();
        }
    }
}

/// The same sums; through memory each would wait for the one before to be written and read again.
#[inline(always)]
fn add_in_registers<S: Simd, T: CacheItem>(s: S, p: &[f32], values: &[T], out: &mut [f32]) {
    let mut sums = [s.splat(0.0); HEAD];
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = s.load_first(&out[i * LANES..]);
    }
    for (value, &p) in values.as_chunks::<{ HEAD * LANES }>().0.iter().zip(p) {
        fetch_next_head(s, value);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.fma(s.splat(p), T::load(s, &value[i * LANES..]), *sum);
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        s.store_first(sum, &mut out[i * LANES..]);
    }
}
