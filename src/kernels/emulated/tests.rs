//! Every walk against sums written down plainly, in f64: odd shapes, tiles that don't fit, no keys at all.

use super::*;
use crate::comparison::relative_error;
use crate::kernels::SimdLevel;

/// Numbers between -1 and 1 that look random and are the same in every run.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..count).map(|_| next() as f32).collect()
}

struct Case {
    heads: usize,
    head_dim: usize,
    queries: usize,
    keys: usize,
    causal: bool,
}

impl Case {
    /// Queries, keys and values, `(tokens, heads × head_dim)`.
    fn inputs(&self) -> [Vec<f32>; 3] {
        let width = self.heads * self.head_dim;
        [(self.queries, 1), (self.keys, 2), (self.keys, 3)]
            .map(|(rows, seed)| noise(rows * width, seed).iter().map(|x| x * 3.0).collect())
    }

    fn source<'a>(&self, data: &'a [f32]) -> Source<'a> {
        Source::by_token(data, (self.heads, self.head_dim))
    }

    fn output(&self, cpu: &Cpu, walk: Walk) -> Vec<f32> {
        let [q, k, v] = self.inputs();
        let shape = (self.heads, self.head_dim);
        let queries = Queries::new(Rounding::F32, self.source(&q), shape, self.queries);
        let parts = [self.source(&k), self.source(&v)];
        let history = History::new(cpu, Rounding::F32, parts, shape, self.keys);
        let mut out = vec![f32::NAN; q.len()];
        attend(cpu, walk, &queries, &history, self.causal, &mut out);
        out
    }

    /// The same as it is written down.
    fn plain(&self) -> Vec<f64> {
        let [q, k, v] = self.inputs();
        let width = self.heads * self.head_dim;
        let part = |x: &[f32], row: usize, head: usize| -> Vec<f64> {
            x[row * width + head * self.head_dim..][..self.head_dim]
                .iter()
                .map(|x| f64::from(*x))
                .collect()
        };
        let mut out = vec![0.0; q.len()];
        for row in 0..self.queries {
            let seen =
                (0..self.keys).filter(|key| !self.causal || key + self.queries <= self.keys + row);
            let seen: Vec<usize> = seen.collect();
            for head in 0..self.heads {
                let query = part(&q, row, head);
                let dot = |key| -> f64 {
                    part(&k, key, head)
                        .iter()
                        .zip(&query)
                        .map(|(a, b)| a * b)
                        .sum()
                };
                let scale = (self.head_dim as f64).sqrt();
                let weights: Vec<f64> = seen.iter().map(|&key| (dot(key) / scale).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (&key, weight) in seen.iter().zip(&weights) {
                    let out = &mut out[row * width + head * self.head_dim..][..self.head_dim];
                    out.iter_mut()
                        .zip(part(&v, key, head))
                        .for_each(|(out, v)| *out += v * weight / sum);
                }
            }
        }
        out
    }
}

const WALKS: [Walk; 7] = [
    Walk::Tiles {
        queries: 16,
        keys: 32,
    },
    Walk::Tiles {
        queries: 128,
        keys: 64,
    },
    Walk::ContextFirst {
        queries: 128,
        keys: 64,
    },
    Walk::ContextMerged {
        queries: 5,
        keys: 16,
    },
    Walk::Segments {
        count: 16,
        keys: 16,
    },
    Walk::Segments { count: 3, keys: 64 },
    Walk::Partitions { keys: 256 },
];

#[test]
fn every_walk_gives_plain_attention() {
    let shapes = [
        (1, 16, 1, 1),
        (2, 40, 3, 3),
        (3, 80, 17, 530),
        (1, 64, 1, 513),
        (2, 24, 9, 4),
        (1, 8, 5, 0),
        (2, 96, 150, 300),
    ];
    let mut failures = Vec::new();
    for (heads, head_dim, queries, keys) in shapes {
        for causal in [false, true] {
            let case = Case {
                heads,
                head_dim,
                queries,
                keys,
                causal,
            };
            let want = case.plain();
            for walk in WALKS {
                let got = case.output(&Cpu::new(Some(2), None), walk);
                let error = relative_error(&got, &want);
                if error > 1e-5 {
                    failures.push(format!(
                        "{walk:?} {heads} {head_dim} {queries} {keys} {causal}: {error:.1e}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_bits_at_every_level_and_thread_count() {
    let case = Case {
        heads: 3,
        head_dim: 72,
        queries: 21,
        keys: 200,
        causal: true,
    };
    for walk in WALKS {
        let want = case.output(&Cpu::new(Some(1), Some(SimdLevel::available()[0])), walk);
        for level in SimdLevel::available() {
            for threads in [1, 3] {
                let got = case.output(&Cpu::new(Some(threads), Some(level)), walk);
                assert!(got == want, "{walk:?} {level} {threads} threads");
            }
        }
    }
}

#[test]
fn numbers_round_to_nearest_even() {
    let mut x = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 70000.0, -0.1];
    Rounding::F16.round(&mut x);
    assert_eq!(x, [1.0, 1.0 + 2.0 / 1024.0, f32::INFINITY, -0.099_975_586]);
    let mut x = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0];
    Rounding::Bf16.round(&mut x);
    assert_eq!(x, [1.0, 1.0 + 2.0 / 128.0]);
}
