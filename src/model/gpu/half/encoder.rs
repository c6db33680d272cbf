//! The audio encoder in half floats: windows of log-mel together, the residual stream in half floats too.

use super::kernels::{After, EncFlash, EncGemm, EncNorm, Frames, Half, Positions};
use crate::device::{Address, Card, Memory};
use crate::dims::{INPUT_STRIDE, ModelDimensions};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::model::gpu::load::{EncoderBlock, LayerNorm, Layers, Linear};
use crate::model::gpu::stack::repeated;
use ::half::f16;
use ::half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use bytemuck::Zeroable as _;

/// Windows that are encoded together, at most: as many as fill a card.
pub(in crate::model::gpu) fn most_windows(dims: &ModelDimensions) -> usize {
    if dims.n_audio_state <= 768 { 16 } else { 8 }
}

/// Numbers of log-mel that a thread rounds at once.
const ROUNDED_AT_ONCE: usize = 16 << 10;

/// Memory that windows pass through.
pub(super) struct EncoderMemory {
    mel: Memory,
    frames: Memory,
    wide: Memory,
    x: Memory,
    normed: Memory,
    /// Queries, keys and values; what the MLP hides; the audio's keys and values.
    hidden: Memory,
    attended: Memory,
}

impl EncoderMemory {
    /// Bytes of each part.
    fn sizes(dims: &ModelDimensions) -> [usize; 7] {
        let (positions, width) = (dims.n_audio_ctx, dims.n_audio_state);
        let frames = INPUT_STRIDE * positions;
        let hidden = (4 * width).max(2 * dims.n_text_state);
        [
            2 * frames * dims.n_mels,
            2 * (frames + 2) * dims.n_mels,
            2 * (frames + 2) * width,
            2 * positions * width,
            2 * positions * width,
            2 * positions * hidden,
            2 * positions * width,
        ]
        .map(|bytes| most_windows(dims) * bytes)
    }

    pub fn bytes(dims: &ModelDimensions) -> usize {
        Self::sizes(dims).iter().sum()
    }

    pub fn new(card: &Card, dims: &ModelDimensions) -> Result<Self> {
        let [mel, frames, wide, x, normed, hidden, attended] =
            Self::sizes(dims).map(|bytes| card.memory(bytes));
        Ok(Self {
            mel: mel?,
            frames: frames?,
            wide: wide?,
            x: x?,
            normed: normed?,
            hidden: hidden?,
            attended: attended?,
        })
    }

    /// Where the residual stream is.
    pub fn x(&self) -> Address {
        self.x.address()
    }

    /// Where the encoder's output is, `(positions, n_audio_state)`.
    pub fn output(&self) -> Address {
        self.normed.address()
    }

    /// Memory that nothing is in once the encoder is done.
    pub fn spare(&self) -> Address {
        self.attended.address()
    }

    /// Where the audio's keys and values of a layer are, `(positions, 2 × n_text_state)`.
    pub fn keys_values(&self) -> Address {
        self.hidden.address()
    }
}

/// Windows in the encoder.
pub(super) struct Encoder<'a> {
    pub card: &'a Card,
    pub half: &'a Half,
    pub layers: &'a Layers,
    pub dims: &'a ModelDimensions,
    pub memory: &'a EncoderMemory,
    /// Of each window.
    pub positions: usize,
    pub windows: usize,
}

impl Encoder<'_> {
    /// The whole encoder, of windows that are on the card: its output is in [`EncoderMemory::output`].
    pub fn forward(&self) -> Result<()> {
        self.convolve()?;
        self.blocks()
    }

    fn blocks(&self) -> Result<()> {
        let mut blocks = self.layers.encoder.iter();
        blocks.try_for_each(|block| self.block(block))?;
        self.norm(&self.layers.encoder_norm)
    }

    /// Seconds that the card takes for windows that it has.
    pub fn seconds(&self) -> Result<f64> {
        repeated(self.card, &mut || self.forward())
    }

    /// Log-mel as half floats onto the card; the threads share the rounding.
    pub fn upload(&self, mels: &[&[f32]], cpu: &Cpu) -> Result<()> {
        let each = mels.first().map_or(0, |mel| mel.len());
        let mut fill = |at: usize, piece: &mut [u8]| {
            let halves: &mut [f16] =
                bytemuck::cast_slice_mut::<_, u16>(piece).reinterpret_cast_mut();
            cpu.pool().run_chunks(halves, ROUNDED_AT_ONCE, |i, chunk| {
                let (mut from, mut rest) = (at / 2 + i * ROUNDED_AT_ONCE, chunk);
                while !rest.is_empty() {
                    let of_window = &mels[from / each][from % each..];
                    let (now, later) = rest.split_at_mut(rest.len().min(of_window.len()));
                    now.convert_from_f32_slice(&of_window[..now.len()]);
                    (from, rest) = (from + now.len(), later);
                }
            });
        };
        let bytes = 2 * each * mels.len();
        let to = self.memory.mel.address();
        self.card.driver().write_by(to, bytes, &mut fill)
    }

    /// Both convolutions, plus positions.
    pub fn stem(&self, mels: &[&[f32]], cpu: &Cpu) -> Result<()> {
        self.upload(mels, cpu)?;
        self.convolve()
    }

    /// The stem of windows that are on the card. Three neighbouring frames are a row of a convolution's matrix.
    fn convolve(&self) -> Result<()> {
        let (memory, width) = (self.memory, self.dims.n_audio_state as u64);
        let (n_mels, frames) = (self.dims.n_mels as u64, INPUT_STRIDE * self.positions);
        let all = Frames {
            mel: memory.mel.address(),
            out: memory.frames.address(),
            next: memory.wide.address(),
            frames: frames as u32,
            n_mels: n_mels as u32,
            d: width,
        };
        self.half.frames(self.windows, &all)?;
        let [first, second] = &self.layers.convs;
        let padded = frames as u64 + 2;
        let out = memory.wide.address() + 2 * width;
        let first = EncGemm {
            a_row: n_mels,
            a_window: padded * n_mels,
            out_window: padded * width,
            ..self.linear(first, memory.frames.address(), frames, out)
        };
        self.half.enc_gemm(After::Gelu, &first, self.windows)?;
        let second = EncGemm {
            a_row: INPUT_STRIDE as u64 * width,
            a_window: padded * width,
            out_window: self.positions as u64 * width,
            ..self.linear(second, memory.wide.address(), self.positions, memory.x())
        };
        self.half.enc_gemm(After::Gelu, &second, self.windows)?;
        let period = self.positions as u64 * width;
        self.half.positions(&Positions {
            x: memory.x(),
            table: self.layers.audio_positions.address(),
            count: self.windows as u64 * period,
            period,
        })
    }

    /// One block, in place on the residual stream.
    pub fn block(&self, block: &EncoderBlock) -> Result<()> {
        let (memory, x) = (self.memory, self.memory.x());
        let hidden = memory.hidden.address();
        self.normed(After::Nothing, &block.attn_norm, &block.qkv)?;
        let attention = EncFlash {
            qkv: hidden,
            out: memory.attended.address(),
            positions: self.positions as u32,
            d: self.dims.n_audio_state as u32,
        };
        self.half
            .enc_attention(self.dims.n_audio_head, &attention, self.windows)?;
        self.through(After::Residual, &block.out, memory.attended.address(), x)?;
        let [first, second] = &block.mlp;
        self.normed(After::Gelu, &block.mlp_norm, first)?;
        self.through(After::Residual, second, hidden, x)
    }

    /// The output as a decoder layer's keys and values, in [`EncoderMemory::keys_values`].
    pub fn listen(&self, cross_kv: &Linear) -> Result<()> {
        let (from, to) = (self.memory.output(), self.memory.keys_values());
        self.through(After::Nothing, cross_kv, from, to)
    }

    /// A layer of the normed residual stream, into the memory of what is hidden.
    fn normed(&self, after: After, norm: &LayerNorm, layer: &Linear) -> Result<()> {
        let (from, to) = (self.memory.normed.address(), self.memory.hidden.address());
        if !self.half.narrow() {
            self.norm(norm)?;
            return self.through(after, layer, from, to);
        }
        let norm = self.norming(norm);
        self.half.enc_norm_narrow(&norm)?;
        let gemm = self.linear(layer, from, norm.rows as usize, to);
        let scales = [norm.scales, layer.scales()];
        self.half.enc_tiles(after, &gemm, 1, Some(scales))
    }

    fn norm(&self, norm: &LayerNorm) -> Result<()> {
        self.half.enc_norm(&self.norming(norm))
    }

    /// The residual stream's LayerNorm; where it gives bytes, their scales lie in the second half of the memory that
    /// half floats would fill.
    fn norming(&self, norm: &LayerNorm) -> EncNorm {
        let y = self.memory.normed.address();
        EncNorm {
            x: self.memory.x(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            y,
            scales: y + self.memory.normed.bytes() as Address / 2,
            rows: (self.windows * self.positions) as u32,
            d: self.dims.n_audio_state as u32,
        }
    }

    fn through(&self, after: After, layer: &Linear, from: Address, to: Address) -> Result<()> {
        // All windows' rows lie one after another.
        let gemm = self.linear(layer, from, self.windows * self.positions, to);
        self.half.enc_gemm(after, &gemm, 1)
    }

    /// Rows through a layer, onto what is there where it is a residual.
    fn linear(&self, layer: &Linear, a: Address, rows: usize, out: Address) -> EncGemm {
        EncGemm {
            a,
            w: layer.weight.address(),
            bias: layer.bias(),
            residual: out,
            out,
            a_row: layer.n_in.into(),
            out_row: layer.n_out.into(),
            rows: rows as u32,
            n: layer.n_out,
            k: layer.n_in,
            ..EncGemm::zeroed()
        }
    }
}
