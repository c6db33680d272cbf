//! Passes over a run of logits: the largest, the sum of exponentials, the best few.
//!
//! Only finite logits are candidates: NaN and infinities neither win nor spread. Results are the same
//! at every level and do not depend on anything but the run.

use super::level::SimdLevel;
use super::simd::{LANES, Simd, Task, dispatch, math};

/// The largest finite logit and the first place it has; `None` if none is finite.
pub fn largest(level: SimdLevel, run: &[f32]) -> Option<(usize, f32)> {
    let max = dispatch(level, Largest(run));
    run.iter()
        .position(|&x| x == max && x.is_finite())
        .map(|place| (place, max))
}

/// The sum of `exp((logit - max) × scale)` over the finite logits; none may be above `max`, and
/// `scale` is positive (1, or 1 / temperature).
pub fn sum_exp(level: SimdLevel, run: &[f32], max: f32, scale: f32) -> f64 {
    dispatch(level, SumExp(run, Weights { max, scale }))
}

/// `exp((logit - max) × scale)` of each logit, 0 where it is not finite; as [`sum_exp`] adds them up.
///
/// # Panics
/// Where `out` has another length than the run.
pub fn exps(level: SimdLevel, run: &[f32], max: f32, scale: f32, out: &mut [f32]) {
    assert_eq!(run.len(), out.len(), "a place for each logit");
    let weights = Weights { max, scale };
    dispatch(level, Exps { run, weights, out });
}

/// Puts the candidates of a run into `best`, which keeps the `k` largest, largest first, the earlier
/// token first among equals. Tokens count from `first_token`. Call it for one run after another.
pub fn top_k(
    level: SimdLevel,
    run: &[f32],
    first_token: usize,
    k: usize,
    best: &mut Vec<(u32, f32)>,
) {
    let above = |x: &f32, best: &[(u32, f32)]| {
        x.is_finite() && (best.len() < k || best.last().is_some_and(|&(_, least)| *x > least))
    };
    for (block, logits) in run.chunks(BLOCK).enumerate() {
        let full = best.len() >= k;
        if full
            && !best
                .last()
                .is_some_and(|&(_, x)| dispatch(level, Exceeds(logits, x)))
        {
            continue;
        }
        for (offset, &logit) in logits.iter().enumerate() {
            if above(&logit, best) {
                let place = best.partition_point(|&(_, other)| other >= logit);
                best.insert(
                    place,
                    ((first_token + block * BLOCK + offset) as u32, logit),
                );
                best.truncate(k);
            }
        }
    }
}

/// Logits whose exponentials are added up in single precision before double precision takes over, or
/// which are looked through for one above the floor.
const BLOCK: usize = 512;

struct Largest<'a>(&'a [f32]);

impl Task<f32> for Largest<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let lowest = s.splat(f32::NEG_INFINITY);
        let mut max = [lowest; 4];
        let (quads, rest) = self.0.as_chunks::<{ 4 * LANES }>();
        for quad in quads {
            for (max, x) in max.iter_mut().zip(quad.as_chunks().0) {
                *max = s.max(finite(s, s.load(x), lowest), *max);
            }
        }
        for x in rest.chunks(LANES) {
            max[0] = s.max(finite(s, s.load_some(x, f32::NEG_INFINITY), lowest), max[0]);
        }
        let [a, b, c, d] = max;
        s.largest(s.max(s.max(a, b), s.max(c, d)))
    }
}

/// `x` where it is below infinity (which NaN is not), else `other`.
#[inline(always)]
fn finite<S: Simd>(s: S, x: S::F, other: S::F) -> S::F {
    s.select(s.less(x, s.splat(f32::INFINITY)), x, other)
}

/// What exponentials are taken of: `(logit - max) × scale`.
#[derive(Clone, Copy)]
struct Weights {
    max: f32,
    scale: f32,
}

impl Weights {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F) -> S::F {
        let x = finite(s, x, s.splat(f32::NEG_INFINITY));
        let above_max = s.sub(x, s.splat(self.max));
        math::exp(s, s.mul(above_max, s.splat(self.scale)))
    }
}

struct SumExp<'a>(&'a [f32], Weights);

impl Task<f64> for SumExp<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Self(run, weights) = self;
        let mut total = 0.0;
        for block in run.chunks(BLOCK) {
            let mut sums = [s.splat(0.0); 2];
            let (pairs, rest) = block.as_chunks::<{ 2 * LANES }>();
            for pair in pairs {
                for (sum, x) in sums.iter_mut().zip(pair.as_chunks().0) {
                    *sum = s.add(*sum, weights.of(s, s.load(x)));
                }
            }
            for (sum, x) in sums.iter_mut().zip(rest.chunks(LANES)) {
                let x = s.load_some(x, f32::NEG_INFINITY);
                *sum = s.add(*sum, weights.of(s, x));
            }
            total += f64::from(s.total(s.add(sums[0], sums[1])));
        }
        total
    }
}

struct Exps<'a> {
    run: &'a [f32],
    weights: Weights,
    out: &'a mut [f32],
}

impl Task<()> for Exps<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, out) in self.run.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            let x = s.load_some(x, f32::NEG_INFINITY);
            s.store_some(self.weights.of(s, x), out);
        }
    }
}

/// Whether a finite logit is above the floor.
struct Exceeds<'a>(&'a [f32], f32);

impl Task<bool> for Exceeds<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        Largest(self.0).run(s) > self.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::tests::numbers;

    /// Runs of awkward lengths, with ties and with values that are no candidates.
    fn runs() -> Vec<Vec<f32>> {
        let run = |len: usize| {
            let mut run: Vec<f32> = numbers(len, 7)
                .iter()
                .map(|x| (x * 40.0).round() / 2.0)
                .collect();
            for (i, wild) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
                .into_iter()
                .enumerate()
            {
                if let Some(x) = run.get_mut(5 * i + 3) {
                    *x = wild;
                }
            }
            run
        };
        [0, 1, 4, 15, 16, 17, 63, 64, 130, 511, 513, 5000]
            .into_iter()
            .map(run)
            .collect()
    }

    fn candidates(run: &[f32]) -> Vec<(u32, f32)> {
        let mut all: Vec<_> = (0..)
            .zip(run.iter().copied())
            .filter(|(_, x)| x.is_finite())
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }

    #[test]
    fn the_largest_is_the_first_of_the_finite() {
        for (run, level) in runs()
            .iter()
            .flat_map(|r| SimdLevel::available().into_iter().map(move |l| (r, l)))
        {
            let expected = candidates(run)
                .first()
                .map(|&(place, x)| (place as usize, x));
            assert_eq!(
                largest(level, run),
                expected,
                "{level}, {} logits",
                run.len()
            );
        }
        for run in [vec![], vec![f32::NAN; 40], vec![f32::NEG_INFINITY; 3]] {
            assert_eq!(largest(SimdLevel::best(), &run), None);
        }
    }

    #[test]
    fn exponentials_and_their_sums_agree_with_f64_and_between_levels() {
        for (run, scale) in runs().iter().flat_map(|run| [(run, 1.0), (run, 2.5)]) {
            let max = candidates(run).first().map_or(0.0, |best| best.1);
            let term = |&(_, x): &(u32, f32)| (f64::from(x - max) * f64::from(scale)).exp();
            let exact: f64 = candidates(run).iter().map(term).sum();
            let plain = sum_exp(SimdLevel::SCALAR, run, max, scale);
            assert!(
                (plain - exact).abs() <= 1e-6 * exact,
                "{plain} is not {exact}"
            );
            for level in SimdLevel::available() {
                assert_eq!(sum_exp(level, run, max, scale), plain, "{level}");
            }
            let mut weights = vec![f32::NAN; run.len()];
            exps(SimdLevel::SCALAR, run, max, scale, &mut weights);
            for (x, weight) in run.iter().zip(&weights) {
                let exact = match x.is_finite() {
                    true => term(&(0, *x)),
                    false => 0.0,
                };
                assert!(
                    (f64::from(*weight) - exact).abs() <= 1e-6 * exact + 1e-37,
                    "{x}: {weight} is not {exact}"
                );
            }
            for level in SimdLevel::available() {
                let mut found = vec![f32::NAN; run.len()];
                exps(level, run, max, scale, &mut found);
                assert_eq!(found, weights, "{level}");
            }
        }
    }

    #[test]
    fn the_best_few_come_sorted_lower_tokens_first() {
        for (run, k) in runs()
            .iter()
            .flat_map(|run| [(run, 1), (run, 5), (run, 16)])
        {
            let mut expected = candidates(run);
            expected.iter_mut().for_each(|(token, _)| *token += 100);
            expected.truncate(k);
            for level in SimdLevel::available() {
                let mut best = Vec::new();
                let (head, tail) = run.split_at(run.len() / 3);
                top_k(level, head, 100, k, &mut best);
                top_k(level, tail, 100 + head.len(), k, &mut best);
                assert_eq!(best, expected, "{level}, best {k} of {}", run.len());
            }
        }
    }
}
