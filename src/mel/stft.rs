//! One frame of samples to one power spectrum.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::filterbank::N_BINS;
use crate::dims::N_FFT;

/// A 400-point transform under a periodic Hann window, with its buffers.
pub(super) struct PowerSpectrum {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    input: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl PowerSpectrum {
    pub(super) fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(N_FFT);
        Self {
            window: (0..N_FFT).map(hann).collect(),
            input: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; N_BINS],
            fft,
        }
    }

    /// The squared magnitudes of the 201 bins of `frame`, which must be 400 samples.
    pub(super) fn of(&mut self, frame: &[f32]) -> &[f32] {
        for ((input, sample), weight) in self.input.iter_mut().zip(frame).zip(&self.window) {
            *input = sample * weight;
        }
        // The buffers were made for this length, which is all that the transform checks.
        let done =
            self.fft
                .process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch);
        debug_assert!(done.is_ok());
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        &self.power
    }
}

fn hann(n: usize) -> f32 {
    (0.5 - 0.5 * (2.0 * PI * n as f64 / N_FFT as f64).cos()) as f32
}
