//! Silero's voice activity model, version 6, for 16 kHz: a short-time Fourier transform, four convolutions over its
//! magnitudes, an LSTM cell that remembers, and a head.
//!
//! A chunk is 512 samples with the 64 before them and a reflection of its own last 64: four frames of 256
//! samples, 128 apart. The transform and the convolutions of many chunks are one gemm each, on rows that
//! overlap in memory; the cell goes through the chunks in order. Shapes are fixed, so taps that see only
//! padding are left out: two of the last convolution's three, and the first of the third's.

use safetensors::SafeTensors;

use super::CHUNK;
use super::lstm::{Lstm, Memory, call, sigmoid};
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::kernels::linear::{PackedLinear, linear};

/// Samples before a chunk that are heard again with it.
pub const CONTEXT: usize = 64;
/// Samples of a chunk with its context.
pub const HEARD: usize = CONTEXT + CHUNK;
/// And with the reflection behind it.
const REFLECTED: usize = HEARD + 64;
/// Samples of a frame, and from one to the next.
const FRAME: usize = 256;
const HOP: usize = 128;
/// Frames of a chunk.
const FRAMES: usize = 4;
/// Rows that a chunk takes where chunks follow one another: its frames, and one that is padding.
const ROWS: usize = FRAMES + 1;
/// Frequencies.
const BINS: usize = FRAME / 2 + 1;
/// Channels behind each convolution, and the memory's width.
const WIDE: usize = 128;
const NARROW: usize = 64;

static WEIGHTS: &[u8] = include_bytes!("../../models/silero/silero_vad_16k.safetensors");

/// The model, packed for a processor.
pub struct Silero {
    stft: PackedLinear,
    conv1: PackedLinear,
    conv2: PackedLinear,
    conv3: PackedLinear,
    conv4: PackedLinear,
    lstm: Lstm,
    head: Vec<f32>,
    head_bias: f32,
}

impl Silero {
    /// # Errors
    /// [`Error::Engine`] if the weights in this program are not what they should be: a defect.
    pub fn new(cpu: &Cpu) -> Result<Self> {
        let tensors = Tensors::read(WEIGHTS)?;
        let of = |w: &[f32], n_in, bias: &[f32]| {
            let n_out = w.len() / n_in;
            PackedLinear::pack_f32(cpu, w, n_out, n_in, Some(bias))
        };
        let conv = |name: &str, taps: std::ops::Range<usize>| -> Result<PackedLinear> {
            let bias = tensors.of(&format!("{name}.bias"))?;
            let w = by_tap(&tensors.of(&format!("{name}.weight"))?, bias.len(), taps);
            Ok(of(&w, w.len() / bias.len(), &bias))
        };
        let gates = |side: &str| -> Result<PackedLinear> {
            let bias = tensors.of(&format!("lstm_cell.bias_{side}"))?;
            Ok(of(
                &tensors.of(&format!("lstm_cell.weight_{side}"))?,
                WIDE,
                &bias,
            ))
        };
        let basis = tensors.of("stft_conv.weight")?;
        Ok(Self {
            stft: of(&basis, FRAME, &[0.0; 2 * BINS]),
            conv1: conv("conv1", 0..3)?,
            conv2: conv("conv2", 0..3)?,
            conv3: conv("conv3", 1..3)?,
            conv4: conv("conv4", 1..2)?,
            lstm: Lstm {
                from_input: gates("ih")?,
                from_hidden: gates("hh")?,
            },
            head: tensors.of("final_conv.weight")?,
            head_bias: tensors.of("final_conv.bias")?[0],
        })
    }

    /// A memory of nothing.
    pub fn memory() -> Memory {
        Memory::new(WIDE)
    }

    /// The probabilities of chunks that follow one another, of which `heard` has the samples, the context of
    /// the first in front.
    pub fn run(&self, cpu: &Cpu, heard: &[f32], memory: &mut Memory, found: &mut Vec<f32>) {
        let chunks = (heard.len() - CONTEXT) / CHUNK;
        if chunks == 0 {
            return;
        }
        let features = self.features(cpu, heard, chunks);
        let mut gates = vec![0.0; chunks * 4 * WIDE];
        self.lstm.feed(cpu, &features, chunks, &mut gates);
        for fed in gates.chunks_exact(4 * WIDE) {
            self.lstm.step(cpu, fed, memory);
            let heads = memory.hidden.iter().zip(&self.head);
            let sum: f32 = heads.map(|(h, w)| h.max(0.0) * w).sum();
            found.push(sigmoid(sum + self.head_bias));
        }
    }

    /// What the convolutions make of each chunk: `(chunks, 128)`.
    fn features(&self, cpu: &Cpu, heard: &[f32], chunks: usize) -> Vec<f32> {
        let magnitudes = self.magnitudes(cpu, heard, chunks);
        let layer = |w: &PackedLinear, x: &[f32], stride, rows, out: &mut [f32]| {
            linear(cpu, w, &call(x, stride, rows, None), out);
            out.iter_mut().for_each(|x| *x = x.max(0.0));
        };
        // One row in front and one behind: what is left of the first frame and right of the last is zero.
        let rows = chunks * ROWS;
        let mut first = vec![0.0; (rows + 1) * WIDE];
        layer(&self.conv1, &magnitudes, BINS, rows, &mut first[WIDE..]);
        for padding in first[WIDE..]
            .chunks_exact_mut(WIDE)
            .skip(FRAMES)
            .step_by(ROWS)
        {
            padding.fill(0.0);
        }
        // Every second position of four frames: two, whose outputs follow one another.
        let mut second = vec![0.0; chunks * 2 * NARROW];
        let mut half = vec![0.0; chunks * NARROW];
        for position in 0..2 {
            let x = &first[2 * position * WIDE..];
            layer(&self.conv2, x, ROWS * WIDE, chunks, &mut half);
            let halves = half.chunks_exact(NARROW);
            for (to, from) in second.chunks_exact_mut(2 * NARROW).zip(halves) {
                to[position * NARROW..][..NARROW].copy_from_slice(from);
            }
        }
        layer(&self.conv3, &second, 2 * NARROW, chunks, &mut half);
        let mut features = vec![0.0; chunks * WIDE];
        layer(&self.conv4, &half, NARROW, chunks, &mut features);
        features
    }

    /// The magnitudes of each chunk's frames, `(chunks, 5, 129)` of which the first is zero, and two rows
    /// of zeros behind them.
    fn magnitudes(&self, cpu: &Cpu, heard: &[f32], chunks: usize) -> Vec<f32> {
        let mut padded = vec![0.0; chunks * REFLECTED];
        for (n, to) in padded.chunks_exact_mut(REFLECTED).enumerate() {
            to[..HEARD].copy_from_slice(&heard[n * CHUNK..][..HEARD]);
            for i in HEARD..REFLECTED {
                to[i] = to[2 * HEARD - 2 - i];
            }
        }
        // Frames of two chunks are in between; they are not looked at.
        let rows = chunks * ROWS - 1;
        let mut parts = vec![0.0; rows * 2 * BINS];
        linear(cpu, &self.stft, &call(&padded, HOP, rows, None), &mut parts);
        let mut magnitudes = vec![0.0; (chunks * ROWS + 2) * BINS];
        let frames = magnitudes[BINS..].chunks_exact_mut(BINS);
        for (n, (to, parts)) in frames.zip(parts.chunks_exact(2 * BINS)).enumerate() {
            if n % ROWS < FRAMES {
                let (real, imaginary) = parts.split_at(BINS);
                for ((to, re), im) in to.iter_mut().zip(real).zip(imaginary) {
                    *to = (re * re + im * im).sqrt();
                }
            }
        }
        magnitudes
    }
}

/// Weights `(n_out, n_in, 3)` as rows `(n_out, taps × n_in)` of some of the taps.
fn by_tap(w: &[f32], n_out: usize, taps: std::ops::Range<usize>) -> Vec<f32> {
    let n_in = w.len() / n_out / 3;
    let row = |w: &[f32]| {
        let at = |tap: usize| (0..n_in).map(move |c| (tap, c));
        let places = taps.clone().flat_map(at);
        places.map(|(tap, c)| w[c * 3 + tap]).collect::<Vec<_>>()
    };
    w.chunks_exact(n_in * 3).flat_map(row).collect()
}

struct Tensors<'a>(SafeTensors<'a>);

impl<'a> Tensors<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        SafeTensors::deserialize(bytes)
            .map(Self)
            .map_err(|e| broken(&e))
    }

    fn of(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.0.tensor(name).map_err(|e| broken(&e))?;
        let numbers = tensor.data().chunks_exact(4);
        Ok(numbers
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect())
    }
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::Engine(format!("the voice activity model's weights: {error}"))
}
