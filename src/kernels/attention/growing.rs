//! Decoder self-attention of one row: a few queries against a growing cache.
//!
//! A new token's score is a dot product per position, as the cache lies position by position and a
//! beam's history may jump between its window's rows.

use super::cache::{BLOCK, GroupKv, Lineage, Stored, runs};
use super::vector::{Vector, exp2};
use crate::kernels::storage::LINE;

/// One query of one head against the first `seen` positions of a beam's history.
#[inline(always)]
pub(super) fn attend_one<V: Vector>(
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
    scores.resize(seen.next_multiple_of(V::LANES), -1e30);
    let history = &lineage.history(beam)[..seen];
    for (row, positions) in runs(history) {
        let scores = &mut scores[positions.clone()];
        match cache.keys_at(row, positions, head) {
            Stored::F32(keys) => score::<V, f32>(query, keys, scores),
            Stored::F16(keys) => score::<V, u16>(query, keys, scores),
        }
    }
    let inverse = 1.0
        / softmax::<V>(
            scores,
            std::f32::consts::LOG2_E / (query.len() as f32).sqrt(),
        );
    for (row, positions) in runs(history) {
        let p = &scores[positions.clone()];
        match cache.values_at(row, positions, head) {
            Stored::F32(values) => add::<V, f32>(p, values, out),
            Stored::F16(values) => add::<V, u16>(p, values, out),
        }
    }
    out.iter_mut().for_each(|x| *x *= inverse);
}

/// Turns scores into probabilities before division by their sum, which is returned.
#[inline(always)]
fn softmax<V: Vector>(scores: &mut [f32], scale: f32) -> f32 {
    let mut highest = V::splat(-1e20);
    for scores in scores.chunks_exact(V::LANES) {
        highest = V::max(highest, V::load(scores));
    }
    let highest = V::splat(V::maximum(highest));
    let mut sum = V::splat(0.0);
    for scores in scores.chunks_exact_mut(V::LANES) {
        let p = exp2::<V>(V::mul(V::sub(V::load(scores), highest), V::splat(scale)));
        sum = V::add(sum, p);
        V::store(p, scores);
    }
    V::sum(sum)
}

/// What a cache may hold: f32, or f16 as bits.
trait CacheItem: Copy {
    fn load<V: Vector>(from: &[Self]) -> V::F;
    fn one(self) -> f32;
}

impl CacheItem for f32 {
    #[inline(always)]
    fn load<V: Vector>(from: &[f32]) -> V::F {
        V::load(from)
    }
    #[inline(always)]
    fn one(self) -> f32 {
        self
    }
}

impl CacheItem for u16 {
    #[inline(always)]
    fn load<V: Vector>(from: &[u16]) -> V::F {
        V::load_f16(from)
    }
    #[inline(always)]
    fn one(self) -> f32 {
        half::f16::from_bits(self).to_f32()
    }
}

/// Asks for the same position of the next head, which lies a block further on and is read soon; the
/// hardware does not guess that, and a history is too long for the cache.
#[inline(always)]
fn fetch_next_head<V: Vector, T>(position: &[T]) {
    let next = position.as_ptr().wrapping_add(BLOCK * position.len());
    for line in (0..size_of_val(position)).step_by(LINE) {
        V::prefetch(next.cast::<u8>().wrapping_add(line));
    }
}

/// `query · key` for each key; whole vectors first, then what is left.
#[inline(always)]
fn score<V: Vector, T: CacheItem>(query: &[f32], keys: &[T], scores: &mut [f32]) {
    let whole = query.len() / V::LANES * V::LANES;
    for (key, score) in keys.chunks_exact(query.len()).zip(scores) {
        fetch_next_head::<V, T>(key);
        let mut sum = V::splat(0.0);
        for start in (0..whole).step_by(V::LANES) {
            sum = V::fma(V::load(&query[start..]), T::load::<V>(&key[start..]), sum);
        }
        *score = V::sum(sum);
        for (x, key) in query[whole..].iter().zip(&key[whole..]) {
            *score += x * key.one();
        }
    }
}

/// `out += p × value` for each value.
#[inline(always)]
fn add<V: Vector, T: CacheItem>(p: &[f32], values: &[T], out: &mut [f32]) {
    let whole = out.len() / V::LANES * V::LANES;
    for (value, &p) in values.chunks_exact(out.len()).zip(p) {
        fetch_next_head::<V, T>(value);
        for start in (0..whole).step_by(V::LANES) {
            let out = &mut out[start..];
            V::store(
                V::fma(V::splat(p), T::load::<V>(&value[start..]), V::load(out)),
                out,
            );
        }
        for (x, value) in out[whole..].iter_mut().zip(&value[whole..]) {
            *x += p * value.one();
        }
    }
}
