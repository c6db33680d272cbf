//! The weights of cross-attention by themselves, for those who align text and audio by them.

use super::cache::CrossKv;
use super::panels::{PANEL, depth, panel_width};
use crate::kernels::simd::{LANES, Simd, Task, dispatch};
use crate::kernels::{SimdLevel, rank};

/// `softmax(q · kᵀ / √head_dim)` of one head's queries, `(head_dim)` each, over all of the cache's keys:
/// `(queries, positions)` into `out`.
///
/// # Panics
/// Where `out` or a query has another length.
pub fn cross_weights(
    level: SimdLevel,
    cache: &CrossKv,
    head: usize,
    queries: &[&[f32]],
    out: &mut [f32],
) {
    let packed = cache.packed();
    let (positions, head_dim) = (packed.positions, packed.head_dim);
    assert_eq!(
        out.len(),
        queries.len() * positions,
        "a place for each weight"
    );
    assert!(
        queries.iter().all(|query| query.len() == head_dim),
        "whole queries"
    );
    if positions == 0 {
        return;
    }
    let mut scratch = Vec::new();
    let scores = Scores {
        keys: packed.key_panels(head, &mut scratch),
        stride: depth(head_dim),
        queries,
        positions,
        out,
    };
    dispatch(level, scores);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut scores = vec![0.0; positions];
    for row in out.chunks_exact_mut(positions) {
        scores.copy_from_slice(row);
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        rank::exps(level, &scores, highest, scale, row);
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
    }
}

/// Products of queries and keys, panel by panel.
struct Scores<'a> {
    keys: &'a [f32],
    /// Rows of a panel.
    stride: usize,
    queries: &'a [&'a [f32]],
    positions: usize,
    /// `(queries, positions)`
    out: &'a mut [f32],
}

impl Task<()> for Scores<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let panels = self.keys.chunks(PANEL * self.stride);
        for (panel, keys) in panels.enumerate() {
            let width = panel_width(self.positions, panel);
            let first = panel * PANEL;
            let own = width.min(self.positions - first);
            for (query, out) in self
                .queries
                .iter()
                .zip(self.out.chunks_exact_mut(self.positions))
            {
                let mut sums = [simd.splat(0.0); PANEL / LANES];
                for (x, keys) in query.iter().zip(keys.chunks_exact(width)) {
                    let x = simd.splat(*x);
                    for (sum, keys) in sums.iter_mut().zip(keys.as_chunks().0) {
                        *sum = simd.fma(x, simd.load(keys), *sum);
                    }
                }
                let mut scores = [[0.0; LANES]; PANEL / LANES];
                for (sum, scores) in sums.iter().zip(&mut scores) {
                    simd.store(*sum, scores);
                }
                out[first..first + own].copy_from_slice(&scores.as_flattened()[..own]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;
    use crate::kernels::attention::{PackedDtype, Rows};

    #[test]
    fn weights_are_those_of_the_plain_formula_at_every_level() {
        let (heads, head_dim) = (3, 20);
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            let number = |i: usize| ((i * 7919 + seed) % 211) as f32 * 0.03 - 3.0;
            (0..count).map(number).collect()
        };
        for dtype in [PackedDtype::F32, PackedDtype::I8] {
            for positions in [1, 15, 64, 65, 150] {
                let keys = numbers(positions * heads * head_dim, 1);
                let rows = |data| Rows {
                    data,
                    stride: heads * head_dim,
                    count: positions,
                };
                let cpu = Cpu::new(Some(1), None);
                let cache = CrossKv::pack(&cpu, dtype, rows(&keys), rows(&keys), heads, head_dim);
                let kept = cache.keys();
                let queries = numbers(2 * head_dim, 5);
                let queries: Vec<&[f32]> = queries.chunks(head_dim).collect();
                for (head, level) in (0..heads)
                    .flat_map(|head| SimdLevel::available().into_iter().map(move |l| (head, l)))
                {
                    let mut got = vec![0.0; 2 * positions];
                    cross_weights(level, &cache, head, &queries, &mut got);
                    let own = &kept[head * positions * head_dim..][..positions * head_dim];
                    for (query, got) in queries.iter().zip(got.chunks(positions)) {
                        let score = |key: &[f32]| {
                            let sum: f64 =
                                key.iter().zip(*query).map(|(k, q)| f64::from(k * q)).sum();
                            (sum / (head_dim as f64).sqrt()).exp()
                        };
                        let scores: Vec<f64> = own.chunks(head_dim).map(score).collect();
                        let sum: f64 = scores.iter().sum();
                        for (got, want) in got.iter().zip(&scores) {
                            let error = (f64::from(*got) - want / sum).abs();
                            assert!(error < 1e-5, "{dtype:?} {positions} {level}: {error}");
                        }
                    }
                }
            }
        }
    }
}
