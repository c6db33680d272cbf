//! Any sample rate to 16 kHz by the polyphase filter that ffmpeg's swresample uses by default.
//!
//! A different filter, however good, gives different samples near 8 kHz, hence a different mel and
//! now and then different words than openai/whisper. So the same design is computed here: a sinc
//! under a Kaiser window (β = 9), 32 zero crossings wide, cut off at 0.97 of the lower Nyquist
//! frequency, one phase per output position where that takes at most 1024; in 16-bit integers for
//! what ffmpeg decodes to 16 bits, else in floating point. The start is reflected
//! about the first sample and the end about the point after the last, as there, which also leaves
//! no delay: N samples at rate r come out as N · 16000 / r, to within one.
//!
//! What stays true: however the input is cut into pieces, the output is the same.

use std::f64::consts::PI;

use crate::dims::SAMPLE_RATE;

const FILTER_SIZE: f64 = 32.0;
const CUTOFF: f64 = 0.97;
const KAISER_BETA: f64 = 9.0;
const MAX_PHASES: usize = 1024;
/// Filter rows are padded with zeros to whole vectors of this many taps.
const LANES: usize = 8;
/// Consumed samples are dropped from the buffer once there are this many.
const COMPACT_SAMPLES: usize = 8192;

/// What a resampler computes with.
pub(super) trait Sample: Copy {
    /// A filter coefficient, at most 1, in this type.
    fn coefficient(value: f64) -> Self;
    /// The filter applied at one place.
    fn dot(window: &[Self], filter: &[Self]) -> Self;
}

/// A streaming converter of mono samples to 16 kHz.
pub(super) struct Resampler<S> {
    /// `(phases, stride)`, rows padded with zeros from `taps` to `stride`.
    bank: Vec<S>,
    phases: usize,
    taps: usize,
    stride: usize,
    /// Whole phases from one output to the next, and the rest as a fraction of `SAMPLE_RATE`.
    step_phases: usize,
    step_rest: usize,
    buffer: Vec<S>,
    /// First sample under the filter for the next output, its phase, and the phase's fraction.
    start: usize,
    phase: usize,
    fraction: usize,
    is_primed: bool,
}

impl<S: Sample> Resampler<S> {
    /// A converter from `rate` samples per second, which must be at least 1.
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1) as usize;
        let exact_phases = SAMPLE_RATE / gcd(SAMPLE_RATE, rate);
        let phases = if exact_phases <= MAX_PHASES {
            exact_phases
        } else {
            MAX_PHASES
        };
        let factor = (SAMPLE_RATE as f64 * CUTOFF / rate as f64).min(1.0);
        let taps = ((FILTER_SIZE / factor).ceil() as usize).next_multiple_of(2);
        let stride = taps.next_multiple_of(LANES);
        Self {
            bank: filter_bank(factor, taps, stride, phases),
            phases,
            taps,
            stride,
            step_phases: rate * phases / SAMPLE_RATE,
            step_rest: rate * phases % SAMPLE_RATE,
            buffer: Vec::new(),
            start: 0,
            phase: 0,
            fraction: 0,
            is_primed: false,
        }
    }

    /// Takes the next samples and appends to `out` what they complete.
    pub(super) fn push(&mut self, input: &[S], out: &mut Vec<S>) {
        self.buffer.extend_from_slice(input);
        if !self.is_primed {
            if self.buffer.len() <= self.taps {
                return;
            }
            self.prime();
        }
        self.run(out);
        if self.start >= COMPACT_SAMPLES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Appends to `out` what is left when no more samples come.
    pub(super) fn finish(mut self, out: &mut Vec<S>) {
        if self.buffer.is_empty() {
            return;
        }
        if !self.is_primed {
            self.prime();
        }
        let end = self.buffer.len();
        let reflected = end.saturating_sub(self.start).min(self.taps).div_ceil(2);
        for back in 0..reflected {
            self.buffer.push(self.buffer[end - 1 - back]);
        }
        self.run(out);
    }

    /// Puts the reflection of the start in front of it.
    fn prime(&mut self) {
        let last = self.buffer.len() - 1;
        let reflection: Vec<S> = (1..=self.taps)
            .rev()
            .map(|n| self.buffer[n.min(last)])
            .collect();
        self.buffer.splice(..0, reflection);
        self.start = self.taps - (self.taps - 1) / 2;
        self.is_primed = true;
    }

    fn run(&mut self, out: &mut Vec<S>) {
        while self.start + self.taps <= self.buffer.len() {
            let window = &self.buffer[self.start..self.start + self.taps];
            let row = &self.bank[self.phase * self.stride..][..self.taps];
            out.push(S::dot(window, row));
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.fraction += self.step_rest;
        self.phase += self.step_phases;
        if self.fraction >= SAMPLE_RATE {
            self.fraction -= SAMPLE_RATE;
            self.phase += 1;
        }
        self.start += self.phase / self.phases;
        self.phase %= self.phases;
    }
}

/// The filter's coefficients, `(phases, stride)`.
fn filter_bank<S: Sample>(factor: f64, taps: usize, stride: usize, phases: usize) -> Vec<S> {
    let centre = ((taps - 1) / 2) as f64;
    let coefficient = |tap: usize, phase: usize| {
        let x = PI * (tap as f64 - centre - phase as f64 / phases as f64) * factor;
        let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
        let w = 2.0 * x / (factor * taps as f64 * PI);
        sinc * bessel_i0(KAISER_BETA * (1.0 - w * w).max(0.0).sqrt())
    };
    let norm: f64 = (0..taps).map(|tap| coefficient(tap, 0)).sum();
    let mut bank = vec![S::coefficient(0.0); phases * stride];
    for (phase, row) in bank.chunks_exact_mut(stride).enumerate() {
        for (tap, value) in row[..taps].iter_mut().enumerate() {
            *value = S::coefficient(coefficient(tap, phase) / norm);
        }
    }
    bank
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= quarter / f64::from(k * k);
        let before = sum;
        sum += term;
        // Terms fall by now, so that those behind change nothing either.
        if sum == before {
            break;
        }
    }
    sum
}

impl Sample for f32 {
    fn coefficient(value: f64) -> Self {
        value as f32
    }

    fn dot(window: &[f32], filter: &[f32]) -> f32 {
        let mut sums = [0.0f32; LANES];
        let (a, b) = (window.chunks_exact(LANES), filter.chunks_exact(LANES));
        let rest: f32 = a
            .remainder()
            .iter()
            .zip(b.remainder())
            .map(|(x, y)| x * y)
            .sum();
        for (x, y) in a.zip(b) {
            for lane in 0..LANES {
                sums[lane] += x[lane] * y[lane];
            }
        }
        sums.iter().sum::<f32>() + rest
    }
}

/// Fixed point with 15 fractional bits; sums wrap as they do in ffmpeg's vector code.
impl Sample for i16 {
    fn coefficient(value: f64) -> Self {
        (value * 32_768.0).round_ties_even() as i16
    }

    fn dot(window: &[i16], filter: &[i16]) -> i16 {
        const HALF: i32 = 1 << 14;
        let products = window
            .iter()
            .zip(filter)
            .map(|(&x, &y)| i32::from(x) * i32::from(y));
        let sum = products.fold(HALF, i32::wrapping_add);
        (sum >> 15).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resample<S: Sample>(rate: u32, pieces: &[&[S]]) -> Vec<S> {
        let (mut resampler, mut out) = (Resampler::new(rate), Vec::new());
        for piece in pieces {
            resampler.push(piece, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    fn noise(len: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn chunking_changes_nothing() {
        let signal = noise(30_000);
        let whole_numbers: Vec<i16> = signal.iter().map(|x| (x * 32_767.0) as i16).collect();
        for rate in [8_000, 11_025, 22_050, 44_100, 44_099, 48_000, 192_000] {
            let whole = resample(rate, &[signal.as_slice()]);
            let whole_i16 = resample(rate, &[whole_numbers.as_slice()]);
            for size in [1, 7, 160, 1_023, 9_000] {
                let pieces: Vec<&[f32]> = signal.chunks(size).collect();
                assert!(
                    resample(rate, &pieces) == whole,
                    "{rate} Hz in pieces of {size}"
                );
                let pieces: Vec<&[i16]> = whole_numbers.chunks(size).collect();
                assert!(
                    resample(rate, &pieces) == whole_i16,
                    "{rate} Hz, {size}, integers"
                );
            }
        }
    }

    #[test]
    fn length_is_that_of_the_same_time_at_16_khz() {
        let mut failures = Vec::new();
        for rate in [
            8_000u32, 11_025, 12_000, 22_050, 32_000, 44_100, 48_000, 96_000,
        ] {
            for len in [2_000usize, 44_100, 44_101] {
                let expected = (len * SAMPLE_RATE).div_ceil(rate as usize);
                let actual = resample(rate, &[vec![0.25f32; len].as_slice()]).len();
                if actual.abs_diff(expected) > 1 {
                    failures.push(format!("{len} at {rate}: {actual}, not {expected}"));
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn a_tone_keeps_its_time_and_level() {
        for rate in [8_000u32, 22_050, 44_100, 48_000] {
            let at = |n: usize, rate: f64| (2.0 * PI * 440.0 * n as f64 / rate).sin() * 0.5;
            let tone: Vec<f32> = (0..rate as usize)
                .map(|n| at(n, f64::from(rate)) as f32)
                .collect();
            let out = resample(rate, &[tone.as_slice()]);
            let error = |n: usize| (f64::from(out[n]) - at(n, SAMPLE_RATE as f64)).abs();
            let worst = crate::comparison::worst((200..15_800).map(error));
            assert!(worst < 1e-4, "{rate} Hz: {worst}");
        }
    }

    #[test]
    fn short_inputs_are_fine() {
        assert!(resample::<f32>(44_100, &[]).is_empty());
        for len in 1..300 {
            let out = resample(44_100, &[vec![0.5f32; len].as_slice()]);
            assert!(
                out.len() <= len && out.iter().all(|x| x.is_finite()),
                "{len}"
            );
        }
    }
}
