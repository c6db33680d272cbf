//! Layer-norm.

use crate::kernels::Cpu;
use crate::kernels::simd::{LANES, Simd, Task, dispatch};

/// A layer-norm: `(x - mean) / sqrt(variance + eps) × weight + bias`.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// One per column.
    pub weight: &'a [f32],
    /// One per column.
    pub bias: &'a [f32],
    /// Added to the variance; Whisper has 1e-5.
    pub eps: f32,
}

/// Normalises each of `rows` rows of `x` `(rows, width)` into `out`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn layer_norm(cpu: &Cpu, x: &[f32], rows: usize, norm: &Norm, out: &mut [f32]) {
    let width = norm.weight.len();
    assert!(norm.bias.len() == width && x.len() == rows * width && out.len() == x.len());
    let rows_per_task = rows.div_ceil(4 * cpu.threads()).max(16);
    cpu.pool()
        .run_chunks(out, (rows_per_task * width).max(1), |task, out| {
            let x = &x[task * rows_per_task * width..][..out.len()];
            dispatch(cpu.level(), NormaliseRows { x, norm, out });
        });
}

struct NormaliseRows<'a> {
    x: &'a [f32],
    norm: &'a Norm<'a>,
    out: &'a mut [f32],
}

impl Task for NormaliseRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.norm.weight.len();
        for (x, out) in self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(width))
        {
            normalise(s, x, self.norm, out);
        }
    }
}

/// Normalises one row into the first of `out`, which may be longer. The variance is taken around the
/// mean in a second pass: rows with a large mean lose no digits.
#[inline(always)]
pub(super) fn normalise<S: Simd>(s: S, x: &[f32], norm: &Norm, out: &mut [f32]) {
    let scale = 1.0 / x.len() as f32;
    let mean = sum(s, x, 0.0, |x| x) * scale;
    let centre = s.splat(mean);
    let variance = sum(s, x, mean, |x| {
        let off = s.sub(x, centre);
        s.mul(off, off)
    }) * scale;
    let spread = s.splat(1.0 / (variance + norm.eps).sqrt());
    let parameters = norm.weight.chunks(LANES).zip(norm.bias.chunks(LANES));
    let columns = x.chunks(LANES).zip(out[..x.len()].chunks_mut(LANES));
    for ((x, out), (weight, bias)) in columns.zip(parameters) {
        let unit = s.mul(s.sub(s.load_some(x, mean), centre), spread);
        let y = s.fma(unit, s.load_some(weight, 0.0), s.load_some(bias, 0.0));
        s.store_some(y, out);
    }
}

/// The sum of `term` over the row; lanes beyond its end are `fill`. Four chains, so that the additions
/// need not wait for one another.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], fill: f32, term: impl Fn(S::F) -> S::F) -> f32 {
    let mut chains = [s.splat(0.0); 4];
    let (quads, rest) = x.as_chunks::<{ 4 * LANES }>();
    for quad in quads {
        for (chain, x) in chains.iter_mut().zip(quad.as_chunks().0) {
            *chain = s.add(*chain, term(s.load(x)));
        }
    }
    for (chain, x) in chains.iter_mut().zip(rest.chunks(LANES)) {
        *chain = s.add(*chain, term(s.load_some(x, fill)));
    }
    let [a, b, c, d] = chains;
    s.total(s.add(s.add(a, b), s.add(c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::SimdLevel;

    fn plain(x: &[f32], norm: &Norm) -> Vec<f64> {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
        let off = |x: f32| f64::from(x) - mean;
        let variance = x.iter().map(|&x| off(x).powi(2)).sum::<f64>() / x.len() as f64;
        let spread = (variance + f64::from(norm.eps)).sqrt();
        let parameters = norm.weight.iter().zip(norm.bias);
        let y = |(&x, (&w, &b))| off(x) / spread * f64::from(w) + f64::from(b);
        x.iter().zip(parameters).map(y).collect()
    }

    #[test]
    fn agrees_with_f64_at_every_level_and_width_and_row_count() {
        for width in [1, 15, 16, 37, 64, 384, 515] {
            let float = |i: usize| ((i * 7919 % 2003) as f32 - 1001.0) / 500.0;
            let x: Vec<f32> = (0..70 * width).map(|i| float(i) + 3.0).collect();
            let weight: Vec<f32> = (0..width).map(float).collect();
            let bias: Vec<f32> = (0..width).map(|i| float(i + 9)).collect();
            let norm = Norm {
                weight: &weight,
                bias: &bias,
                eps: 1e-5,
            };
            let exact: Vec<f64> = x.chunks(width).flat_map(|row| plain(row, &norm)).collect();
            let mut first: Option<Vec<f32>> = None;
            for level in SimdLevel::available() {
                let cpu = Cpu::new(Some(2), Some(level));
                let mut y = vec![0.0; x.len()];
                layer_norm(&cpu, &x, 70, &norm, &mut y);
                let far =
                    |(y, e): (&f32, &f64)| (f64::from(*y) - e).abs() > 3e-6 * e.abs().max(1.0);
                assert!(!y.iter().zip(&exact).any(far), "{level}, width {width}");
                let mut last = vec![0.0; width];
                layer_norm(&cpu, &x[69 * width..], 1, &norm, &mut last);
                assert_eq!(
                    last,
                    y[69 * width..],
                    "{level}, width {width}: rows are independent"
                );
                assert_eq!(
                    first.get_or_insert_with(|| y.clone()),
                    &y,
                    "{level}, width {width}"
                );
            }
        }
    }
}
