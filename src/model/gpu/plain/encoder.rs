//! The audio encoder on a card: one window of log-mel after another.

use super::kernels::{Gemm, Norm, Plain, Taps};
use crate::device::{Address, Card, Memory};
use crate::dims::{INPUT_STRIDE, ModelDimensions};
use crate::error::Result;
use crate::model::gpu::load::{EncoderBlock, LayerNorm, Layers, Linear};
use bytemuck::Zeroable as _;

/// Memory that a window passes through.
pub(super) struct EncoderMemory {
    mel: Memory,
    taps: Memory,
    wide: Memory,
    x: Memory,
    normed: Memory,
    qkv: Memory,
    scores: Memory,
    attended: Memory,
    hidden: Memory,
}

impl EncoderMemory {
    /// Floats of each part.
    fn sizes(dims: &ModelDimensions) -> [usize; 9] {
        let (positions, width) = (dims.n_audio_ctx, dims.n_audio_state);
        let frames = INPUT_STRIDE * positions;
        [
            frames * dims.n_mels,
            3 * (frames * dims.n_mels).max(positions * width),
            frames * width,
            positions * width,
            positions * width,
            3 * positions * width,
            dims.n_audio_head * positions * positions,
            positions * width,
            4 * positions * width,
        ]
    }

    pub fn bytes(dims: &ModelDimensions) -> usize {
        4 * Self::sizes(dims).iter().sum::<usize>()
    }

    pub fn new(card: &Card, dims: &ModelDimensions) -> Result<Self> {
        let [mel, taps, wide, x, normed, qkv, scores, attended, hidden] =
            Self::sizes(dims).map(|floats| card.memory(4 * floats));
        Ok(Self {
            mel: mel?,
            taps: taps?,
            wide: wide?,
            x: x?,
            normed: normed?,
            qkv: qkv?,
            scores: scores?,
            attended: attended?,
            hidden: hidden?,
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
}

/// A window in the encoder.
pub(super) struct Encoder<'a> {
    pub card: &'a Card,
    pub plain: &'a Plain,
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

    /// Both convolutions, plus positions. `mel`: `(n_mels, frames)`.
    pub fn stem(&self, mel: &[f32]) -> Result<()> {
        let (memory, driver) = (self.memory, self.card.driver());
        driver.write(memory.mel.address(), bytemuck::cast_slice(mel))?;
        let (channels, frames) = (self.dims.n_mels as u32, mel.len() / self.dims.n_mels);
        let [first, second] = &self.layers.convs;
        let taps = Taps {
            x: memory.mel.address(),
            y: memory.taps.address(),
            channel_step: frames as u64,
            time_step: 1,
            channels,
            length: frames as u32,
            stride: 1,
            unused: 0,
        };
        self.plain.taps(frames, &taps)?;
        self.linear(first, frames, &memory.taps, memory.wide.address(), 0, true)?;
        let width = self.dims.n_audio_state;
        let taps = Taps {
            x: memory.wide.address(),
            channel_step: 1,
            time_step: width as u64,
            channels: width as u32,
            stride: INPUT_STRIDE as u32,
            ..taps
        };
        self.plain.taps(self.positions, &taps)?;
        let positions = self.layers.audio_positions.address();
        self.linear(
            second,
            self.positions,
            &memory.taps,
            memory.x(),
            positions,
            true,
        )
    }

    /// One block, in place on the residual stream.
    pub fn block(&self, block: &EncoderBlock) -> Result<()> {
        let (memory, m) = (self.memory, self.positions);
        self.norm(&block.attn_norm)?;
        self.linear(
            &block.qkv,
            m,
            &memory.normed,
            memory.qkv.address(),
            0,
            false,
        )?;
        self.attention()?;
        self.linear(
            &block.out,
            m,
            &memory.attended,
            memory.x(),
            memory.x(),
            false,
        )?;
        self.norm(&block.mlp_norm)?;
        let [first, second] = &block.mlp;
        self.linear(first, m, &memory.normed, memory.hidden.address(), 0, true)?;
        self.linear(second, m, &memory.hidden, memory.x(), memory.x(), false)
    }

    /// Every position attends to every other: scores, softmax, and the values' mean, all heads at once.
    fn attention(&self) -> Result<()> {
        let (memory, positions) = (self.memory, self.positions as u64);
        let (heads, width) = (self.dims.n_audio_head, self.dims.n_audio_state as u64);
        let head = width / heads as u64;
        let part = |i: u64| memory.qkv.address() + 4 * i * width;
        let scores = Gemm {
            a: part(0),
            b: part(1),
            c: memory.scores.address(),
            lda: 3 * width,
            ldb: 3 * width,
            ldc: positions,
            a_batch: head,
            b_batch: head,
            c_batch: positions * positions,
            m: positions as u32,
            n: positions as u32,
            k: head as u32,
            scale: 1.0 / (head as f32).sqrt(),
            ..Gemm::zeroed()
        };
        self.plain.gemm(heads, &scores)?;
        let rows = heads * self.positions;
        self.plain
            .softmax(memory.scores.address(), rows, self.positions)?;
        let values = Gemm {
            a: memory.scores.address(),
            b: part(2),
            c: memory.attended.address(),
            lda: positions,
            ldc: width,
            a_batch: positions * positions,
            c_batch: head,
            n: head as u32,
            k: positions as u32,
            turned: 1,
            scale: 1.0,
            ..scores
        };
        self.plain.gemm(heads, &values)
    }

    fn norm(&self, norm: &LayerNorm) -> Result<()> {
        let call = Norm {
            x: self.memory.x(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            from: 0,
            y: self.memory.normed.address(),
            d: self.dims.n_audio_state as u64,
        };
        self.plain.norm(self.positions, &call)
    }

    /// `m` rows through a layer. `residual`: 0 for none.
    pub fn linear(
        &self,
        layer: &Linear,
        m: usize,
        from: &Memory,
        to: Address,
        residual: Address,
        gelu: bool,
    ) -> Result<()> {
        let (n, k) = (layer.n_out, layer.n_in);
        let call = Gemm {
            a: from.address(),
            b: layer.weight.address(),
            c: to,
            bias: layer.bias(),
            residual,
            lda: k.into(),
            ldb: k.into(),
            ldc: n.into(),
            m: m as u32,
            n,
            k,
            gelu: gelu.into(),
            scale: 1.0,
            ..Gemm::zeroed()
        };
        self.plain.gemm(1, &call)
    }

    /// The output as a decoder layer's keys and values: `(positions, 2 × n_text_state)`.
    pub fn listen(&self, cross_kv: &Linear, to: Address) -> Result<()> {
        self.linear(cross_kv, self.positions, &self.memory.normed, to, 0, false)
    }
}
