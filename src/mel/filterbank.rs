//! The triangular filters that gather STFT bins into mel bins.

use crate::dims::{N_FFT, SAMPLE_RATE};

/// Bins of the power spectrum: 0 Hz to the Nyquist frequency.
pub(super) const N_BINS: usize = N_FFT / 2 + 1;

/// Slope of the linear part of Slaney's mel scale, in Hz per mel.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
/// Where the scale turns logarithmic, in Hz.
const LOG_START_HZ: f64 = 1000.0;
/// Mels to one factor of 6.4 above that.
const MELS_PER_LOG_STEP: f64 = 27.0;
const LOG_STEP: f64 = 6.4;

/// The filters as `(n_mels, 201)`, row-major: Slaney's mel scale and area normalisation from 0 Hz
/// to 8 kHz, as `librosa.filters.mel(sr=16000, n_fft=400)` and hence openai/whisper's asset.
#[must_use]
pub fn mel_filterbank(n_mels: usize) -> Vec<f32> {
    let edges = edges_hz(n_mels);
    let bin_hz = SAMPLE_RATE as f64 / N_FFT as f64;
    let mut filters = vec![0.0; n_mels * N_BINS];
    for (row, edge) in filters.chunks_exact_mut(N_BINS).zip(edges.windows(3)) {
        let area_norm = 2.0 / (edge[2] - edge[0]);
        for (bin, weight) in row.iter_mut().enumerate() {
            let hz = bin as f64 * bin_hz;
            let rising = (hz - edge[0]) / (edge[1] - edge[0]);
            let falling = (edge[2] - hz) / (edge[2] - edge[1]);
            let height = rising.min(falling).max(0.0) as f32;
            *weight = (f64::from(height) * area_norm) as f32;
        }
    }
    filters
}

/// Where the triangles start, peak and end: `n_mels + 2` frequencies evenly spaced in mels.
fn edges_hz(n_mels: usize) -> Vec<f64> {
    let top = hz_to_mel(SAMPLE_RATE as f64 / 2.0);
    (0..n_mels + 2)
        .map(|i| mel_to_hz(top * i as f64 / (n_mels + 1) as f64))
        .collect()
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LOG_START_HZ {
        return hz / HZ_PER_MEL;
    }
    LOG_START_HZ / HZ_PER_MEL + (hz / LOG_START_HZ).ln() / LOG_STEP.ln() * MELS_PER_LOG_STEP
}

fn mel_to_hz(mel: f64) -> f64 {
    let log_start_mel = LOG_START_HZ / HZ_PER_MEL;
    if mel < log_start_mel {
        return mel * HZ_PER_MEL;
    }
    LOG_START_HZ * (LOG_STEP.ln() / MELS_PER_LOG_STEP * (mel - log_start_mel)).exp()
}

/// The same filters without their zeros: for each mel bin its first STFT bin and its weights.
pub(super) struct SparseFilters {
    rows: Vec<(usize, Vec<f32>)>,
}

impl SparseFilters {
    pub(super) fn new(n_mels: usize) -> Self {
        let rows = mel_filterbank(n_mels)
            .chunks_exact(N_BINS)
            .map(|row| {
                let first = row.iter().position(|&w| w != 0.0).unwrap_or(0);
                let end = row
                    .iter()
                    .rposition(|&w| w != 0.0)
                    .map_or(first, |last| last + 1);
                (first, row[first..end].to_vec())
            })
            .collect();
        Self { rows }
    }

    /// The energy in each mel bin of one power spectrum.
    pub(super) fn energies<'s>(&'s self, power: &'s [f32]) -> impl Iterator<Item = f32> + 's {
        self.rows.iter().map(|(first, weights)| {
            power[*first..]
                .iter()
                .zip(weights)
                .map(|(power, weight)| power * weight)
                .sum()
        })
    }
}
