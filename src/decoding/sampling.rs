//! Sampling from a distribution with a generator that is a pure function of its coordinates.

use crate::decoding::rules::Distribution;
use crate::kernels::{SimdLevel, rank};

/// Logits that are passed over together where the draw is not among them.
const BLOCK: usize = 512;

/// The increment of SplitMix64 (Steele, Lea, Flood 2014).
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random numbers of one window, addressed by row and step, so that a row's draws do not depend
/// on what else runs beside it.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    key: u64,
}

impl Draws {
    /// The draws of a window at one temperature.
    pub fn new(seed: u64, temperature: f64) -> Self {
        Self {
            key: mix(mix(seed).wrapping_add(temperature.to_bits())),
        }
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn uniform(&self, row: usize, step: usize) -> f64 {
        let row_key = mix(self
            .key
            .wrapping_add((row as u64).wrapping_mul(GOLDEN_GAMMA)));
        let bits = mix(row_key.wrapping_add((step as u64).wrapping_mul(GOLDEN_GAMMA)));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// SplitMix64: the step and the finalizer of the generator in one.
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(GOLDEN_GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws a token from `softmax(logits / temperature)` by inverting the cumulative distribution at
/// `uniform`; `None` where nothing can be sampled.
pub fn sample(distribution: &Distribution<'_>, temperature: f64, uniform: f64) -> Option<u32> {
    let mut chosen = distribution.argmax()?;
    let max = distribution.max();
    // However cold: a difference of 0 must stay 0 when it is scaled.
    let scale = (temperature.recip() as f32).min(f32::MAX);
    let level = SimdLevel::best();
    let blocks = || {
        distribution
            .runs()
            .flat_map(|(start, run)| blocks(start, run))
    };
    let target = uniform
        * blocks()
            .map(|(_, block)| rank::sum_exp(level, block, max, scale))
            .sum::<f64>();
    let mut cumulative = 0.0;
    for (start, block) in blocks() {
        let sum = rank::sum_exp(level, block, max, scale);
        if cumulative + sum <= target {
            cumulative += sum;
            continue;
        }
        let mut weights = [0.0; BLOCK];
        let weights = &mut weights[..block.len()];
        rank::exps(level, block, max, scale, weights);
        for (token, weight) in (start..).zip(weights) {
            if *weight > 0.0 {
                cumulative += f64::from(*weight);
                chosen = token as u32;
                if cumulative > target {
                    return Some(chosen);
                }
            }
        }
    }
    Some(chosen)
}

fn blocks(start: usize, run: &[f32]) -> impl Iterator<Item = (usize, &[f32])> {
    let starts = (start..).step_by(BLOCK);
    starts.zip(run.chunks(BLOCK))
}
