//! Every kernel at every level of this CPU against a plain f64 version.

use super::*;
use crate::comparison::relative_error;

/// A small generator, so that failures repeat: numbers of about normal shape.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        sum * 1.7
    }

    fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// Softmax attention of `n` queries to `m` keys in f64, all `(rows, heads × head_dim)`.
fn judge(q: &[f32], k: &[f32], v: &[f32], heads: usize, head_dim: usize, causal: bool) -> Vec<f64> {
    let width = heads * head_dim;
    let (n, m) = (q.len() / width, k.len() / width);
    let mut out = vec![0.0; q.len()];
    for head in 0..heads {
        let part =
            |x: &[f32], row: usize, i: usize| f64::from(x[row * width + head * head_dim + i]);
        for row in 0..n {
            let seen = if causal {
                (m + row + 1).saturating_sub(n)
            } else {
                m
            };
            let score = |key| {
                let dot: f64 = (0..head_dim)
                    .map(|i| part(q, row, i) * part(k, key, i))
                    .sum();
                dot / (head_dim as f64).sqrt()
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let p: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let sum: f64 = p.iter().sum();
            for i in 0..head_dim {
                let value: f64 = p
                    .iter()
                    .enumerate()
                    .map(|(key, p)| p * part(v, key, i))
                    .sum();
                out[row * width + head * head_dim + i] = if seen == 0 { 0.0 } else { value / sum };
            }
        }
    }
    out
}

fn rows(data: &[f32], width: usize) -> Rows<'_> {
    Rows {
        data,
        stride: width,
        count: data.len() / width,
    }
}

fn cpus() -> Vec<Cpu> {
    SimdLevel::available()
        .into_iter()
        .map(|level| Cpu::new(Some(2), Some(level)))
        .collect()
}

/// Fails with every line of `failures`.
fn report(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn dense_agrees_with_f64_at_every_level_length_and_dtype() {
    let bars = [(PackedDtype::F32, 1e-5), (PackedDtype::I8, 2e-2)];
    let shapes = [
        (1, 1),
        (3, 3),
        (17, 17),
        (5, 70),
        (70, 5),
        (200, 200),
        (7, 300),
    ];
    let mut failures = Vec::new();
    for (n, m) in shapes {
        for (heads, head_dim) in [(2, 64), (3, 8), (1, 40), (1, 128)] {
            let (mut random, width) = (Random(7), heads * head_dim);
            let [q, k, v] = [n, m, m].map(|rows| random.numbers(rows * width));
            for causal in [false, true] {
                let want = judge(&q, &k, &v, heads, head_dim, causal);
                for cpu in cpus() {
                    for (dtype, bar) in bars {
                        let mut workspace = Workspace::default();
                        let mut out = vec![f32::NAN; n * width];
                        let inputs = [&q, &k, &v].map(|x| rows(x, width));
                        dense(
                            &cpu,
                            dtype,
                            inputs,
                            (heads, head_dim),
                            causal,
                            &mut workspace,
                            &mut out,
                        );
                        let error = relative_error(&out, &want);
                        if error > bar {
                            failures.push(format!(
                                "{dtype:?} {cpu:?} {n}×{m} {heads}×{head_dim} causal {causal}: {error:.1e}"
                            ));
                        }
                    }
                }
            }
        }
    }
    report(&failures);
}

#[test]
fn cross_agrees_with_f64_and_a_row_does_not_depend_on_the_others() {
    let bars = [(PackedDtype::F32, 1e-5), (PackedDtype::I8, 2e-2)];
    let (heads, head_dim, positions) = (2, 64, 1500);
    let (mut random, width) = (Random(3), heads * head_dim);
    let q = random.numbers(9 * width);
    let windows: Vec<[Vec<f32>; 2]> = (0..2)
        .map(|_| [(); 2].map(|()| random.numbers(positions * width)))
        .collect();
    let mut failures = Vec::new();
    for cpu in cpus() {
        for (dtype, bar) in bars {
            let caches: Vec<CrossKv> = windows
                .iter()
                .map(|[k, v]| {
                    CrossKv::pack(&cpu, dtype, rows(k, width), rows(v, width), heads, head_dim)
                })
                .collect();
            let counts = [(0, 1), (0, 1), (0, 3), (1, 1), (0, 2), (1, 1)];
            let queries: Vec<CrossQueries> = counts
                .map(|(window, count)| CrossQueries {
                    cache: &caches[window],
                    count,
                })
                .into();
            let mut out = vec![f32::NAN; q.len()];
            cross(
                &cpu,
                rows(&q, width),
                (heads, head_dim),
                &queries,
                false,
                &mut out,
            );
            let mut first = 0;
            for ((window, count), queries) in counts.into_iter().zip(&queries) {
                let range = first * width..(first + count) * width;
                first += count;
                let [k, v] = &windows[window];
                let error = relative_error(
                    &out[range.clone()],
                    &judge(&q[range.clone()], k, v, heads, head_dim, false),
                );
                let mut alone = vec![f32::NAN; range.len()];
                let shape = (heads, head_dim);
                cross(
                    &cpu,
                    rows(&q[range.clone()], width),
                    shape,
                    &[*queries],
                    false,
                    &mut alone,
                );
                if error > bar || alone != out[range] {
                    failures.push(format!("{dtype:?} {cpu:?} rows {first}: {error:.1e}"));
                }
            }
        }
    }
    report(&failures);
}

#[test]
fn unpacking_a_cache_gives_back_what_went_in() {
    let (heads, head_dim) = (3, 40);
    let (mut random, width) = (Random(5), heads * head_dim);
    let cpu = Cpu::new(Some(1), None);
    let mut failures = Vec::new();
    for positions in [1, 15, 64, 65, 131] {
        let [k, v] = [(); 2].map(|()| random.numbers(positions * width));
        for (dtype, bar) in [(PackedDtype::F32, 0.0), (PackedDtype::I8, 1e-2)] {
            let packed = PackedKv::pack(
                &cpu,
                dtype,
                rows(&k, width),
                rows(&v, width),
                heads,
                head_dim,
            );
            for (got, want) in [(packed.keys(), &k), (packed.values(), &v)] {
                let mut by_head = Vec::new();
                for head in 0..heads {
                    for row in want.chunks(width) {
                        by_head.extend(
                            row[head * head_dim..][..head_dim]
                                .iter()
                                .map(|&x| f64::from(x)),
                        );
                    }
                }
                let error = relative_error(&got, &by_head);
                if error > bar {
                    failures.push(format!("{dtype:?} {positions}: {error:.1e}"));
                }
            }
        }
    }
    report(&failures);
}

/// A prompt in row 0, then steps in which beams fork: each beam's plain history is the judge.
#[test]
fn growing_follows_each_beams_lineage() {
    let bars = [(GrowingDtype::F32, 1e-5), (GrowingDtype::F16, 2e-3)];
    let (heads, head_dim, beams, prompt) = (2, 64, 3, 5);
    let width = heads * head_dim;
    let forks = [[0, 1, 2], [0, 0, 1], [2, 2, 2], [1, 0, 2]];
    let mut failures = Vec::new();
    for cpu in cpus() {
        for (dtype, bar) in bars {
            let mut random = Random(11);
            let mut cache = GroupKv::new(dtype, heads, head_dim, beams, 448);
            let mut lineage = Lineage::new(beams, 448);
            let mut histories = vec![[Vec::new(), Vec::new()]; beams];
            for position in 0..prompt {
                let [k, v] = [(); 2].map(|()| random.numbers(width));
                cache.write(0, position, &k, &v);
                for history in &mut histories {
                    history[0].extend_from_slice(&k);
                    history[1].extend_from_slice(&v);
                }
            }
            for position in prompt..prompt + 130 {
                let parents = forks[position % forks.len()];
                lineage.reorder(&parents);
                histories = parents
                    .iter()
                    .map(|&parent| histories[parent].clone())
                    .collect();
                lineage.advance(position);
                for (beam, history) in histories.iter_mut().enumerate() {
                    let [k, v] = [(); 2].map(|()| random.numbers(width));
                    cache.write(beam, position, &k, &v);
                    history[0].extend_from_slice(&k);
                    history[1].extend_from_slice(&v);
                }
            }
            let kv_len = prompt + 130;
            // One query each, and one row of many.
            let counts = [1, 7, 2];
            let q = random.numbers(counts.iter().sum::<usize>() * width);
            let queries: Vec<GrowingQueries> = (0..beams)
                .map(|beam| GrowingQueries {
                    cache: &cache,
                    lineage: &lineage,
                    beam,
                    count: counts[beam],
                    kv_len,
                })
                .collect();
            let mut out = vec![f32::NAN; q.len()];
            growing(
                &cpu,
                rows(&q, width),
                (heads, head_dim),
                &queries,
                true,
                &mut out,
            );
            let mut first = 0;
            for (beam, [k, v]) in histories.iter().enumerate() {
                let range = first * width..(first + counts[beam]) * width;
                first += counts[beam];
                let error = relative_error(
                    &out[range.clone()],
                    &judge(&q[range], k, v, heads, head_dim, true),
                );
                if error > bar {
                    failures.push(format!("{dtype:?} {cpu:?} beam {beam}: {error:.1e}"));
                }
            }
        }
    }
    report(&failures);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (heads, head_dim, n) = (3, 64, 250);
    let (mut random, width) = (Random(2), heads * head_dim);
    let qkv = random.numbers(n * 3 * width);
    for dtype in [PackedDtype::F32, PackedDtype::I8] {
        let outputs = [1, 2, 5].map(|threads| {
            let cpu = Cpu::new(Some(threads), None);
            let view = |at: usize| Rows {
                data: &qkv[at * width..],
                stride: 3 * width,
                count: n,
            };
            let mut out = vec![0.0; n * width];
            dense(
                &cpu,
                dtype,
                [view(0), view(1), view(2)],
                (heads, head_dim),
                false,
                &mut Workspace::default(),
                &mut out,
            );
            out
        });
        assert!(
            outputs[0] == outputs[1] && outputs[1] == outputs[2],
            "{dtype:?}"
        );
    }
}
