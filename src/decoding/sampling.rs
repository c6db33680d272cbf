//! The numbers that sampling draws with: a generator that is a pure function of its coordinates.

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
        // A list says 0.6 where steps of 0.2 add up to 0.6000000000000001: both draw alike.
        let temperature = (temperature * 1e6).round() / 1e6;
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
