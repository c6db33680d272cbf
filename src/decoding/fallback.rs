//! When a window is decoded again at a higher temperature, and with which options.

use crate::decoding::result::DecodingResult;
use crate::options::{DecodingOptions, Gates};

/// A window's options at a temperature: beams only at 0, several samples only above it.
#[must_use]
pub fn at_temperature(options: &DecodingOptions, temperature: f64) -> DecodingOptions {
    let mut options = DecodingOptions {
        temperature,
        ..options.clone()
    };
    if temperature > 0.0 {
        options.beam_size = None;
        options.patience = None;
    } else {
        options.best_of = None;
    }
    options
}

/// Whether a result is too repetitive or too unlikely to stand, unless that is because the window
/// is silent. A number that is not one passes every gate.
#[must_use]
pub fn needs_fallback(result: &DecodingResult, gates: &Gates) -> bool {
    let repetitive = above(result.compression_ratio, gates.compression_ratio_threshold);
    let unlikely = below(result.avg_logprob, gates.logprob_threshold);
    let silent = unlikely && above(result.no_speech_prob, gates.no_speech_threshold);
    (repetitive || unlikely) && !silent
}

/// The temperature to try after `attempt` (counted from 0) gave this result; `None` keeps it. When
/// all fail, the last one is kept.
#[must_use]
pub fn next_temperature(gates: &Gates, attempt: usize, result: &DecodingResult) -> Option<f64> {
    let next = gates.temperatures.get(attempt + 1).copied()?;
    needs_fallback(result, gates).then_some(next)
}

/// Whether a window counts as silent: likely no speech, and the text not likely enough to speak
/// against that.
#[must_use]
pub fn is_silent(result: &DecodingResult, gates: &Gates) -> bool {
    above(result.no_speech_prob, gates.no_speech_threshold)
        && !above(result.avg_logprob, gates.logprob_threshold)
}

fn above(value: f64, threshold: Option<f64>) -> bool {
    threshold.is_some_and(|threshold| value > threshold)
}

fn below(value: f64, threshold: Option<f64>) -> bool {
    threshold.is_some_and(|threshold| value < threshold)
}
