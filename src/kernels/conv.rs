//! The encoder's two convolutions over time (kernel 3, padding 1), as linear layers.
//!
//! With frames as rows, what the kernel sees at a position is three rows that follow one another in
//! memory: one row, three times as wide, that overlaps the next. So nothing is gathered.

use super::cpu::Cpu;
use super::linear::{LinearCall, PackedLinear, linear};

/// Frames that the kernel sees.
const TAPS: usize = 3;
/// Rows that one task copies.
const PART: usize = 64;

/// A convolution's weights and its stride.
pub struct PackedConv {
    layer: PackedLinear,
    n_in: usize,
    stride: usize,
}

impl PackedConv {
    /// `layer` packs what [`PackedConv::rows_of`] made of the weights.
    ///
    /// # Panics
    /// If the layer is not three times as wide as `n_in`, or the stride is 0.
    pub fn new(layer: PackedLinear, n_in: usize, stride: usize) -> PackedConv {
        assert!(
            layer.n_in() == TAPS * n_in && stride > 0,
            "a packed convolution of three taps"
        );
        PackedConv {
            layer,
            n_in,
            stride,
        }
    }

    /// Weights `(n_out, n_in, 3)` as the rows `(n_out, 3 × n_in)` of a linear layer over frames.
    ///
    /// # Panics
    /// If `w` has another size.
    pub fn rows_of(w: &[f32], n_out: usize, n_in: usize) -> Vec<f32> {
        assert_eq!(w.len(), n_out * n_in * TAPS, "weights are (n_out, n_in, 3)");
        let row = |w: &[f32]| {
            let at = |i: usize| w[i % n_in * TAPS + i / n_in];
            (0..n_in * TAPS).map(at).collect::<Vec<_>>()
        };
        w.chunks_exact(n_in * TAPS).flat_map(row).collect()
    }

    /// Outputs: channels after the convolution.
    pub fn n_out(&self) -> usize {
        self.layer.n_out()
    }

    /// Positions after the convolution of `frames` frames.
    pub fn positions(&self, frames: usize) -> usize {
        frames.div_ceil(self.stride)
    }

    fn call<'a>(&self, x: &'a [f32], rows: usize, offset: Option<&'a [f32]>) -> LinearCall<'a> {
        let x_stride = self.stride * self.n_in;
        LinearCall {
            x,
            x_stride,
            rows,
            norm: None,
            gelu: true,
            residual: offset,
        }
    }
}

/// GELU of the convolution of `x` `(n_in, frames)` into `out` `(positions, n_out)`.
///
/// # Panics
/// If a slice has another size.
pub fn from_channels(cpu: &Cpu, conv: &PackedConv, x: &[f32], frames: usize, out: &mut [f32]) {
    let n_in = conv.n_in;
    assert_eq!(x.len(), n_in * frames, "the input is (n_in, frames)");
    let mut rows = cpu.buffers().take((frames + 2) * n_in);
    rows[..n_in].fill(0.0);
    rows[(frames + 1) * n_in..].fill(0.0);
    let inner = &mut rows[n_in..(frames + 1) * n_in];
    cpu.pool().run_chunks(inner, PART * n_in, |part, to| {
        for (channel, x) in x.chunks_exact(frames).enumerate() {
            for (to, &x) in to[channel..]
                .iter_mut()
                .step_by(n_in)
                .zip(&x[part * PART..])
            {
                *to = x;
            }
        }
    });
    run(cpu, conv, &rows, conv.positions(frames), None, out);
    cpu.buffers().give(rows);
}

/// `rows` positions, of which the first begins with `x`'s first frame. Silence ends most windows: where
/// `x` ends in equal frames, one position is computed for all that see nothing else.
fn run(
    cpu: &Cpu,
    conv: &PackedConv,
    x: &[f32],
    rows: usize,
    offset: Option<&[f32]>,
    out: &mut [f32],
) {
    let (n_in, n_out) = (conv.n_in, conv.n_out());
    let steady = (x.len() / n_in - repeated(x, n_in)).div_ceil(conv.stride);
    let own = steady.min(rows);
    let (first, rest) = out.split_at_mut(own * n_out);
    let (before, after) = offset.map(|offset| offset.split_at(own * n_out)).unzip();
    linear(cpu, &conv.layer, &conv.call(x, own, before), first);
    if own == rows {
        return;
    }
    let mut row = vec![0.0; n_out];
    let x = &x[own * conv.stride * n_in..];
    linear(cpu, &conv.layer, &conv.call(x, 1, None), &mut row);
    cpu.pool().run_chunks(rest, PART * n_out, |part, to| {
        for (i, to) in to.chunks_exact_mut(n_out).enumerate() {
            to.copy_from_slice(&row);
            if let Some(offset) = after {
                let offset = &offset[(part * PART + i) * n_out..];
                to.iter_mut().zip(offset).for_each(|(to, x)| *to += x);
            }
        }
    });
}

/// How many frames at the end of `x` are equal to its last.
fn repeated(x: &[f32], n_in: usize) -> usize {
    let mut frames = x.rchunks_exact(n_in);
    let last = frames.next();
    1 + frames.take_while(|&frame| Some(frame) == last).count()
}

/// GELU of the convolution of `x` `(frames, n_in)`, plus `offset`, into `out`; both
/// `(positions, n_out)`.
///
/// # Panics
/// If a slice has another size.
pub fn from_rows(
    cpu: &Cpu,
    conv: &PackedConv,
    x: &[f32],
    frames: usize,
    offset: Option<&[f32]>,
    out: &mut [f32],
) {
    let (n_in, n_out, positions) = (conv.n_in, conv.n_out(), conv.positions(frames));
    assert_eq!(x.len(), frames * n_in, "the input is (frames, n_in)");
    assert_eq!(
        out.len(),
        positions * n_out,
        "the output is (positions, n_out)"
    );
    // Positions whose three frames all exist: the first is never one, the last may not be.
    let inner = 1..positions
        .min((frames + conv.stride).saturating_sub(2) / conv.stride)
        .max(1);
    let mut at = |range: std::ops::Range<usize>, x: &[f32]| {
        let (rows, outputs) = (range.len(), range.start * n_out..range.end * n_out);
        let offset = offset.map(|offset| &offset[outputs.clone()]);
        run(cpu, conv, x, rows, offset, &mut out[outputs]);
    };
    for edge in (0..inner.start).chain(inner.end..positions) {
        let mut padded = vec![0.0; TAPS * n_in];
        for tap in 0..TAPS {
            let frame = (edge * conv.stride + tap)
                .checked_sub(1)
                .filter(|&frame| frame < frames);
            if let Some(frame) = frame {
                padded[tap * n_in..][..n_in].copy_from_slice(&x[frame * n_in..][..n_in]);
            }
        }
        at(edge..edge + 1, &padded);
    }
    if !inner.is_empty() {
        at(inner, &x[(conv.stride - 1) * n_in..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::tests::numbers;
    use crate::kernels::simd::tests::erf;

    struct Case {
        n_in: usize,
        n_out: usize,
        frames: usize,
        stride: usize,
    }

    /// The plain version: `w` `(n_out, n_in, 3)`, `x` `(frames, n_in)`.
    fn plain(case: &Case, w: &[f32], bias: &[f32], x: &[f32], offset: &[f32]) -> Vec<f64> {
        let positions = case.frames.div_ceil(case.stride);
        let mut out = Vec::new();
        for (p, n) in (0..positions).flat_map(|p| (0..case.n_out).map(move |n| (p, n))) {
            let mut sum = f64::from(bias[n]);
            for (c, tap) in (0..case.n_in).flat_map(|c| (0..TAPS).map(move |tap| (c, tap))) {
                let frame = (p * case.stride + tap).wrapping_sub(1);
                if frame < case.frames {
                    let w = w[(n * case.n_in + c) * TAPS + tap];
                    sum += f64::from(w) * f64::from(x[frame * case.n_in + c]);
                }
            }
            let gelu = 0.5 * sum * (1.0 + erf(sum / 2f64.sqrt()));
            out.push(gelu + f64::from(offset[p * case.n_out + n]));
        }
        out
    }

    #[test]
    fn both_layouts_agree_with_the_plain_convolution() {
        let sizes = [(5, 7, 12), (16, 33, 50), (3, 4, 1), (3, 4, 2), (8, 40, 133)];
        let cases = sizes
            .into_iter()
            .flat_map(|size| [(size, 1), (size, 2)])
            .flat_map(|case| [100, 50, 10].map(|loud| (case, loud)));
        for (((n_in, n_out, frames), stride), loud) in cases {
            let case = Case {
                n_in,
                n_out,
                frames,
                stride,
            };
            let name = format!("{n_in}→{n_out}, {frames} frames, stride {stride}, {loud} % loud");
            let cpu = Cpu::new(Some(2), None);
            let (w, bias) = (numbers(n_out * n_in * TAPS, 1), numbers(n_out, 2));
            let mut x = numbers(frames * n_in, 3);
            // Then there is silence, which need not be zero.
            x[frames * loud / 100 * n_in..].fill(0.5);
            let rows = PackedConv::rows_of(&w, n_out, n_in);
            let layer = PackedLinear::pack_f32(&cpu, &rows, n_out, TAPS * n_in, Some(&bias));
            let conv = PackedConv::new(layer, n_in, stride);
            let size = conv.positions(frames) * n_out;
            let close = |out: &[f32], exact: &[f64]| {
                let off = |(&y, e): (&f32, &f64)| (f64::from(y) - e).abs() < 1e-5;
                assert!(out.iter().zip(exact).all(off), "{name}");
            };
            let (offset, mut out) = (numbers(size, 4), vec![f32::NAN; size]);
            from_rows(&cpu, &conv, &x, frames, Some(&offset), &mut out);
            close(&out, &plain(&case, &w, &bias, &x, &offset));
            let at = |i: usize| x[i % frames * n_in + i / frames];
            let channels: Vec<f32> = (0..x.len()).map(at).collect();
            from_channels(&cpu, &conv, &channels, frames, &mut out);
            close(&out, &plain(&case, &w, &bias, &x, &vec![0.0; size]));
        }
    }
}
