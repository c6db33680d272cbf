//! The walks themselves: which keys a tile of queries meets, in what order and in what parts, and how the
//! parts are put together.

use std::ops::Range;

use super::Walk;
use super::operands::{HeadHistory, HeadQueries};
use super::softmax::{Running, Seen};
use crate::kernels::simd::{Simd, Task};

/// A tile of one head's queries on its way through the keys.
pub(super) struct QueryTile<'a> {
    pub(super) queries: HeadQueries<'a>,
    pub(super) history: &'a HeadHistory,
    /// Which queries of the row.
    pub(super) rows: Range<usize>,
    pub(super) seen: Seen,
    /// Tiles of keys, part by part.
    pub(super) parts: &'a [Vec<Range<usize>>],
}

impl Task<Vec<Running>> for QueryTile<'_> {
    /// What the queries remember of each part.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Running> {
        let mut all = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let mut running = Running::new(&self.rows, self.queries.width);
            for keys in part {
                running.absorb(s, self.queries, self.history, keys.clone(), self.seen);
            }
            all.push(running);
        }
        all
    }
}

impl Walk {
    /// Tiles of keys, part by part, for queries that see `0 .. end` of a row's `len` keys; `context` of
    /// them were there before the call's own tokens.
    pub(super) fn parts(self, len: usize, end: usize, context: usize) -> Vec<Vec<Range<usize>>> {
        match self {
            Walk::Tiles { keys, .. } => vec![cut(0..end, keys)],
            Walk::ContextFirst { keys, .. } => {
                let mut tiles = cut(0..context.min(end), keys);
                tiles.extend(cut(context..end, keys));
                vec![tiles]
            }
            Walk::ContextMerged { keys, .. } => {
                vec![cut(0..context.min(end), keys), cut(context..end, keys)]
            }
            Walk::Segments { count, keys } => {
                let per_segment = len.div_ceil(count * keys).max(1) * keys;
                cut(0..end, per_segment)
                    .into_iter()
                    .map(|segment| cut(segment, keys))
                    .collect()
            }
            Walk::Partitions { keys } => cut(0..end, keys)
                .into_iter()
                .map(|part| vec![part])
                .collect(),
        }
    }

    /// Puts the parts together: `out` is `(rows, width)`.
    pub(super) fn join(self, parts: &[Running], width: usize, out: &mut [f32]) {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            match (self, parts) {
                (Walk::Tiles { .. } | Walk::ContextFirst { .. }, [all]) => all.finish(row, out),
                (Walk::ContextMerged { .. }, _) => merge_by_logarithms(parts, row, out),
                (Walk::Partitions { .. }, _) => reduce_partitions(parts, row, out),
                _ => reduce_segments(parts, row, out),
            }
        }
    }
}

/// A range every `size` positions.
fn cut(range: Range<usize>, size: usize) -> Vec<Range<usize>> {
    range
        .clone()
        .step_by(size)
        .map(|first| first..range.end.min(first + size))
        .collect()
}

/// Finished outputs weighed by `exp(lse - highest lse)`, where `lse = max + ln sum`.
fn merge_by_logarithms(parts: &[Running], row: usize, out: &mut [f32]) {
    let lse = |part: &Running| part.max[row] + part.sum[row].ln();
    let highest = parts.iter().map(lse).fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = parts
        .iter()
        .map(|part| weight(lse(part), highest))
        .collect();
    weigh_finished(parts, &weights, row, out);
}

/// Finished outputs weighed by their share of the sum of all parts.
fn reduce_partitions(parts: &[Running], row: usize, out: &mut [f32]) {
    let highest = highest(parts, row);
    let sum = |part: &Running| part.sum[row] * weight(part.max[row], highest);
    let sums: Vec<f32> = parts.iter().map(sum).collect();
    weigh_finished(parts, &sums, row, out);
}

/// Undivided outputs brought to one maximum and added; one division for all.
fn reduce_segments(parts: &[Running], row: usize, out: &mut [f32]) {
    let highest = highest(parts, row);
    let mut sum = 0.0;
    out.fill(0.0);
    for part in parts {
        let weight = weight(part.max[row], highest);
        sum += part.sum[row] * weight;
        add(out, part.weighed(row), weight);
    }
    if sum > 0.0 {
        out.iter_mut().for_each(|x| *x /= sum);
    }
}

fn weigh_finished(parts: &[Running], weights: &[f32], row: usize, out: &mut [f32]) {
    let total = weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    let mut finished = vec![0.0; out.len()];
    out.fill(0.0);
    for (part, weight) in parts.iter().zip(weights) {
        part.finish(row, &mut finished);
        add(out, &finished, weight / total);
    }
}

fn highest(parts: &[Running], row: usize) -> f32 {
    parts.iter().fold(f32::NEG_INFINITY, |highest, part| {
        highest.max(part.max[row])
    })
}

/// `exp(x - highest)`; 0 for a part that saw nothing.
fn weight(x: f32, highest: f32) -> f32 {
    if x == f32::NEG_INFINITY {
        0.0
    } else {
        (x - highest).exp()
    }
}

fn add(out: &mut [f32], x: &[f32], weight: f32) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x * weight;
    }
}
