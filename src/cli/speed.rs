//! How fast a model is on this machine: from what `bench` measured, or from what plain loops reach.

use std::path::Path;

use serde_json::{Value, json};

use crate::dims::ModelDimensions;
use crate::kernels::{Cpu, roofline};
use crate::model::{ComputeType, StateBytes};

/// Of what plain loops do, the encoder reaches this part in 32-bit floats and in bytes, and the decoder
/// that of reading memory: what `bench` of `base` showed beside them on two busy cores with AVX-512 (0.63
/// and 0.47; 0.2 to 0.4).
const ENCODER_SHARE: [f64; 2] = [0.63, 0.47];
const DECODER_SHARE: f64 = 0.3;
/// Tokens in a window of speech.
const TOKENS: f64 = 90.0;
const WINDOW_S: f64 = 30.0;
/// A weight of 4 bits and its part of a scale, which 32 share.
const BYTES_OF_4_BITS: f64 = 0.5 + 2.0 / 32.0;

/// What this machine does.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Billions of multiplications and additions a second in the encoder.
    pub encoder_gops: f64,
    /// Billions of bytes of weights a second in the decoder.
    pub decoder_gbps: f64,
    /// Whether `bench` measured them, with some model.
    pub measured: bool,
    pub compute: ComputeType,
}

impl Rates {
    /// In 32-bit floats and in bytes: what `bench` has left in `file` for these threads and this vector
    /// level, else from plain loops, which takes a moment.
    pub fn both(cpu: &Cpu, file: &Path) -> [Self; 2] {
        let stored: Value = std::fs::read(file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let memory = std::cell::LazyCell::new(|| roofline::memory_gbps(cpu));
        [ComputeType::F32, ComputeType::Int8].map(|compute| {
            let measured = &stored[key(cpu, compute)];
            let number = |name: &str| measured[name].as_f64().filter(|n| *n > 0.0);
            if let (Some(encoder_gops), Some(decoder_gbps)) =
                (number("encoder_gops"), number("decoder_gbps"))
            {
                return Self {
                    encoder_gops,
                    decoder_gbps,
                    measured: true,
                    compute,
                };
            }
            let encoder_gops = match compute {
                compute if compute.is_integer() => roofline::peak_i8_gops(cpu) * ENCODER_SHARE[1],
                _ => roofline::peak_f32_gflops(cpu) * ENCODER_SHARE[0],
            };
            Self {
                encoder_gops,
                decoder_gbps: *memory * DECODER_SHARE,
                measured: false,
                compute,
            }
        })
    }

    /// Seconds of audio in a second, one beam, one recording.
    pub fn times_real_time(&self, dims: &ModelDimensions) -> f64 {
        let encoder_s = encoder_operations(dims) / (self.encoder_gops * 1e9);
        let decoder_s = TOKENS * decoder_bytes(dims, self.compute) / (self.decoder_gbps * 1e9);
        WINDOW_S / (encoder_s + decoder_s)
    }

    /// Keeps them for later runs; a cache that cannot be written is no harm.
    pub fn keep(&self, cpu: &Cpu, file: &Path) {
        let stored = std::fs::read(file).ok();
        let stored = stored.and_then(|text| serde_json::from_slice(&text).ok());
        let mut stored: Value = stored.unwrap_or_else(|| json!({}));
        stored[key(cpu, self.compute)] = json!({
            "encoder_gops": self.encoder_gops,
            "decoder_gbps": self.decoder_gbps,
        });
        let _ = file.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(file, format!("{stored:#}\n"));
    }
}

fn key(cpu: &Cpu, compute: ComputeType) -> String {
    format!(
        "{} {} threads {}",
        compute.name(),
        cpu.threads(),
        cpu.level()
    )
}

/// Multiplications and additions of one window through the encoder and into cross-attention's keys and
/// values.
pub fn encoder_operations(d: &ModelDimensions) -> f64 {
    let [encoder, projection] = window_operations(d);
    encoder + projection
}

/// Of the encoder, and of cross-attention's keys and values.
pub fn window_operations(d: &ModelDimensions) -> [f64; 2] {
    let (width, positions) = (d.n_audio_state as f64, d.n_audio_ctx as f64);
    let stem =
        (crate::dims::N_FRAMES * 3 * d.n_mels) as f64 * width + positions * 3.0 * width * width;
    let block = 12.0 * positions * width * width + 2.0 * positions * positions * width;
    let cross = 2.0 * positions * width * d.n_text_state as f64;
    [
        2.0 * (stem + d.n_audio_layer as f64 * block),
        2.0 * d.n_text_layer as f64 * cross,
    ]
}

/// Bytes that a step of so many windows reads on a card, a row each with so many tokens behind it: of the layers,
/// and of the output matrix.
pub fn step_bytes(d: &ModelDimensions, state: StateBytes, windows: usize, behind: f64) -> [f64; 2] {
    let output = 2.0 * (d.n_vocab * d.n_text_state) as f64;
    // A window's place is 2 % longer than its positions are.
    let text = behind / d.n_text_ctx as f64 * state.row as f64;
    let layers = decoder_weights(d, ComputeType::F16) - output;
    [
        layers + windows as f64 * (state.window as f64 + text),
        output,
    ]
}

/// Bytes that one decoder step of one row reads: weights, and the keys and values of the audio.
pub fn decoder_bytes(d: &ModelDimensions, compute: ComputeType) -> f64 {
    let number = if compute.is_integer() { 1.0 } else { 4.0 };
    let audio = 2 * d.n_text_layer * d.n_audio_ctx * d.n_text_state;
    decoder_weights(d, compute) + audio as f64 * number
}

fn decoder_weights(d: &ModelDimensions, compute: ComputeType) -> f64 {
    let width = d.n_text_state as f64;
    // Per block: self-attention 4, cross-attention 2 (keys and values are kept), the MLP 8.
    let weights = d.n_text_layer as f64 * 14.0 * width * width + d.n_vocab as f64 * width;
    weights
        * match compute {
            ComputeType::Int8 => 1.0,
            ComputeType::Int4 => BYTES_OF_4_BITS,
            _ => 2.0,
        }
}

/// Bytes of a model's weights in memory, which is also what its packed copy takes: halves or bytes, and
/// the token embedding twice, once for the layer of the logits and once, in halves, to look tokens up.
/// Weights that are no halves (quantized files computed in f32) take twice as much.
pub fn bytes_per_parameter(d: &ModelDimensions, compute: ComputeType) -> u64 {
    let embedding = (d.n_vocab * d.n_text_state) as u64;
    let others = d.parameters() as u64 - embedding;
    match compute {
        ComputeType::Int8 => others + 3 * embedding,
        ComputeType::Int4 => {
            let decoder = d.n_text_layer as f64 * 14.0 * (d.n_text_state as f64).powi(2);
            let saved = (decoder + embedding as f64) * (1.0 - BYTES_OF_4_BITS);
            others + 3 * embedding - saved as u64
        }
        _ => 2 * (others + 2 * embedding),
    }
}

/// Bytes of memory that programs can still have, where the system tells.
pub fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::hub;

    #[test]
    fn what_was_measured_is_kept_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/speed.json");
        let cpu = Cpu::new(Some(1), None);
        let kept = Rates {
            encoder_gops: 123.0,
            decoder_gbps: 4.5,
            measured: true,
            compute: ComputeType::Int8,
        };
        kept.keep(&cpu, &file);
        Rates {
            compute: ComputeType::F32,
            encoder_gops: 60.0,
            ..kept
        }
        .keep(&cpu, &file);
        let [f32, int8] = Rates::both(&cpu, &file);
        assert!(f32.measured && int8.measured);
        assert_eq!(
            (f32.encoder_gops, int8.encoder_gops, int8.decoder_gbps),
            (60.0, 123.0, 4.5)
        );
        let base = hub::find("base").unwrap().dims();
        let small = hub::find("small").unwrap().dims();
        assert!(int8.times_real_time(&base) > 2.0 * int8.times_real_time(&small));
    }

    #[test]
    fn sizes_are_those_that_were_seen() {
        // Packed copies of `base`: 200.7 MB and 130.2 MB; openai's repository: 290.4 MB.
        let base = hub::find("base").unwrap().dims();
        let near = |got: u64, want: f64| (got as f64 / want - 1.0).abs() < 0.04;
        assert!(near(bytes_per_parameter(&base, ComputeType::F32), 200.7e6));
        assert!(near(bytes_per_parameter(&base, ComputeType::Int8), 130.2e6));
        assert!(near(base.parameters() as u64 * 4, 290.4e6));
    }
}
