//! Decoder self-attention of one row: a few queries against a growing cache.
//!
//! A new token's score is a dot product per position, as the cache lies position by position and a
//! beam's history may jump between its window's rows.

use super::vector::{Vector, exp2};
use crate::kernels::kv::{GroupKv, Lineage, Stored};

/// Where a row keeps its numbers.
#[derive(Default)]
pub(super) struct Scratch {
    scores: Vec<f32>,
}

/// One query of one head against the first `seen` positions of a beam's history.
#[inline(always)]
pub(super) fn attend_one<V: Vector>(
    cache: &GroupKv,
    lineage: &Lineage,
    (beam, head, seen): (usize, usize, usize),
    query: &[f32],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    out.fill(0.0);
    if seen == 0 {
        return;
    }
    let scale = std::f32::consts::LOG2_E / (query.len() as f32).sqrt();
    let scores = &mut scratch.scores;
    scores.clear();
    let history = &lineage.history(beam)[..seen];
    for (position, &row) in history.iter().enumerate() {
        let key = cache.key(usize::from(row), position, head);
        scores.push(dot::<V>(query, key) * scale);
    }
    let highest = scores.iter().fold(f32::NEG_INFINITY, |a: f32, &b| a.max(b));
    scores.resize(seen.next_multiple_of(V::LANES), -1e30);
    let mut sum = V::splat(0.0);
    for scores in scores.chunks_exact_mut(V::LANES) {
        let p = exp2::<V>(V::sub(V::load(scores), V::splat(highest)));
        sum = V::add(sum, p);
        V::store(p, scores);
    }
    for (position, (&row, &p)) in history.iter().zip(scores.iter()).enumerate() {
        add::<V>(p, cache.value(usize::from(row), position, head), out);
    }
    let inverse = 1.0 / V::sum(sum);
    out.iter_mut().for_each(|x| *x *= inverse);
}

/// `query · key`; whole vectors first, then what is left.
#[inline(always)]
fn dot<V: Vector>(query: &[f32], key: Stored) -> f32 {
    let whole = query.len() / V::LANES * V::LANES;
    let mut sum = V::splat(0.0);
    for start in (0..whole).step_by(V::LANES) {
        sum = V::fma(V::load(&query[start..]), load::<V>(key, start), sum);
    }
    let mut total = V::sum(sum);
    for (i, x) in query.iter().enumerate().skip(whole) {
        total += x * key.number(i);
    }
    total * key.scale()
}

/// `out += p × value`.
#[inline(always)]
fn add<V: Vector>(p: f32, value: Stored, out: &mut [f32]) {
    let p = p * value.scale();
    let whole = out.len() / V::LANES * V::LANES;
    for start in (0..whole).step_by(V::LANES) {
        let out = &mut out[start..];
        V::store(V::fma(V::splat(p), load::<V>(value, start), V::load(out)), out);
    }
    for (i, x) in out.iter_mut().enumerate().skip(whole) {
        *x += p * value.number(i);
    }
}

/// A vector of stored numbers, without their scale.
#[inline(always)]
fn load<V: Vector>(from: Stored, start: usize) -> V::F {
    match from {
        Stored::F32(x) => V::load(&x[start..]),
        Stored::F16(x) => V::load_f16(&x[start..]),
        Stored::I8(x, _) => V::load_i8(&x[start..]),
    }
}
