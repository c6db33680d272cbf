//! The audio encoder in half floats: one window of log-mel after another, its residual stream in half floats too.

use super::kernels::{After, EncFlash, EncGemm, EncNorm, Frames, Half, Positions};
use crate::device::{Address, Card, Memory};
use crate::dims::{INPUT_STRIDE, ModelDimensions};
use crate::error::Result;
use crate::model::gpu::load::{EncoderBlock, LayerNorm, Layers, Linear};
use bytemuck::Zeroable as _;

/// Memory that a window passes through.
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
            4 * frames * dims.n_mels,
            2 * (frames + 2) * dims.n_mels,
            2 * (frames + 2) * width,
            2 * positions * width,
            2 * positions * width,
            2 * positions * hidden,
            2 * positions * width,
        ]
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

    /// Where the audio's keys and values of a layer are, `(positions, 2 × n_text_state)`.
    pub fn keys_values(&self) -> Address {
        self.hidden.address()
    }
}

/// A window in the encoder.
pub(super) struct Encoder<'a> {
    pub card: &'a Card,
    pub half: &'a Half,
    pub layers: &'a Layers,
    pub dims: &'a ModelDimensions,
    pub memory: &'a EncoderMemory,
    pub positions: usize,
}

impl Encoder<'_> {
    /// The whole encoder: its output is in [`EncoderMemory::output`].
    pub fn forward(&self, mel: &[f32]) -> Result<()> {
        self.stem(mel)?;
        let mut blocks = self.layers.encoder.iter();
        blocks.try_for_each(|block| self.block(block))?;
        self.norm(&self.layers.encoder_norm)
    }

    /// Both convolutions, plus positions. Three neighbouring frames are a row of a convolution's matrix.
    pub fn stem(&self, mel: &[f32]) -> Result<()> {
        let (memory, width) = (self.memory, self.dims.n_audio_state as u64);
        let (n_mels, frames) = (self.dims.n_mels as u32, mel.len() / self.dims.n_mels);
        let driver = self.card.driver();
        driver.write(memory.mel.address(), bytemuck::cast_slice(mel))?;
        self.half.frames(&Frames {
            mel: memory.mel.address(),
            out: memory.frames.address(),
            next: memory.wide.address(),
            frames: frames as u32,
            n_mels,
            d: width,
        })?;
        let [first, second] = &self.layers.convs;
        let conv = |layer: &Linear, a: &Memory, a_row: u64, rows: usize, out: Address| EncGemm {
            a_row,
            ..self.linear(layer, a.address(), rows, out)
        };
        let out = memory.wide.address() + 2 * width;
        let first = conv(first, &memory.frames, n_mels.into(), frames, out);
        self.half.enc_gemm(After::Gelu, &first)?;
        let step = INPUT_STRIDE as u64 * width;
        let second = conv(second, &memory.wide, step, self.positions, memory.x());
        self.half.enc_gemm(After::Gelu, &second)?;
        let count = self.positions as u64 * width;
        self.half.positions(&Positions {
            x: memory.x(),
            table: self.layers.audio_positions.address(),
            count,
            period: count,
        })
    }

    /// One block, in place on the residual stream.
    pub fn block(&self, block: &EncoderBlock) -> Result<()> {
        let (memory, x) = (self.memory, self.memory.x());
        let (normed, hidden) = (memory.normed.address(), memory.hidden.address());
        self.norm(&block.attn_norm)?;
        self.through(After::Nothing, &block.qkv, normed, hidden)?;
        let attention = EncFlash {
            qkv: hidden,
            out: memory.attended.address(),
            positions: self.positions as u32,
            d: self.dims.n_audio_state as u32,
        };
        self.half
            .enc_attention(self.dims.n_audio_head, &attention)?;
        self.through(After::Residual, &block.out, memory.attended.address(), x)?;
        self.norm(&block.mlp_norm)?;
        let [first, second] = &block.mlp;
        self.through(After::Gelu, first, normed, hidden)?;
        self.through(After::Residual, second, hidden, x)
    }

    /// The output as a decoder layer's keys and values, in [`EncoderMemory::keys_values`].
    pub fn listen(&self, cross_kv: &Linear) -> Result<()> {
        let (from, to) = (self.memory.output(), self.memory.keys_values());
        self.through(After::Nothing, cross_kv, from, to)
    }

    fn norm(&self, norm: &LayerNorm) -> Result<()> {
        self.half.enc_norm(&EncNorm {
            x: self.memory.x(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            y: self.memory.normed.address(),
            rows: self.positions as u32,
            d: self.dims.n_audio_state as u32,
        })
    }

    fn through(&self, after: After, layer: &Linear, from: Address, to: Address) -> Result<()> {
        let gemm = self.linear(layer, from, self.positions, to);
        self.half.enc_gemm(after, &gemm)
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
