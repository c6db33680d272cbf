//! The audio encoder: one window of log-mel in, one vector per 20 ms out.

use candle_core::Tensor;

use super::block::{LayerNorm, Mlp, project, project_onto};
use super::ops;
use crate::attention::{AttentionBackend, AttentionCall, Kv};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::conv::{self, PackedConv};
use crate::kernels::linear::{PackedLinear, layer_norm};

/// Two convolutions, sinusoidal positions, a stack of blocks and a final norm.
pub(crate) struct Encoder {
    pub conv1: PackedConv,
    pub conv2: PackedConv,
    /// `(positions, width)`
    pub positions: Vec<f32>,
    pub blocks: Vec<EncoderBlock>,
    pub norm: LayerNorm,
    pub heads: usize,
}

/// Self-attention and an MLP, each on a residual.
pub(crate) struct EncoderBlock {
    pub attn_norm: LayerNorm,
    /// Query, key and value in one matrix, `(3 × width, width)`.
    pub qkv: PackedLinear,
    pub out: PackedLinear,
    pub mlp: Mlp,
}

impl Encoder {
    /// `mel`: `(n_mels, frames)` row-major with `frames` even → `(frames / 2, width)`.
    pub fn forward(
        &self,
        cpu: &Cpu,
        attention: &dyn AttentionBackend,
        mel: &[f32],
        frames: usize,
    ) -> Result<Tensor> {
        let mut x = self.stem(cpu, mel, frames)?;
        for block in &self.blocks {
            let next = block.forward(cpu, attention, self.heads, &x)?;
            ops::reuse(cpu, std::mem::replace(&mut x, next))?;
        }
        let out = self.finish(cpu, &x)?;
        ops::reuse(cpu, x)?;
        Ok(out)
    }

    /// Both convolutions with GELU, plus the positions: `(frames / 2, width)`.
    pub fn stem(&self, cpu: &Cpu, mel: &[f32], frames: usize) -> Result<Tensor> {
        let width = self.conv2.n_out();
        let positions = frames / 2;
        let mut hidden = cpu.spare().take(frames * self.conv1.n_out());
        conv::from_channels(cpu, &self.conv1, mel, frames, &mut hidden);
        let mut out = cpu.spare().take(positions * width);
        let offset = &self.positions[..positions * width];
        conv::from_rows(cpu, &self.conv2, &hidden, frames, Some(offset), &mut out);
        cpu.spare().give(hidden);
        Ok(Tensor::from_vec(
            out,
            (positions, width),
            &candle_core::Device::Cpu,
        )?)
    }

    fn finish(&self, cpu: &Cpu, x: &Tensor) -> Result<Tensor> {
        let shape = x.dims2()?;
        let out = ops::with_rows(x, |x| {
            let mut out = cpu.spare().take(x.rows * x.width);
            layer_norm(cpu, x.data, x.rows, &self.norm.norm(), &mut out);
            out
        })?;
        Ok(Tensor::from_vec(out, shape, &candle_core::Device::Cpu)?)
    }
}

impl EncoderBlock {
    /// x `(positions, width)` → the same shape.
    pub fn forward(
        &self,
        cpu: &Cpu,
        attention: &dyn AttentionBackend,
        heads: usize,
        x: &Tensor,
    ) -> Result<Tensor> {
        let width = x.dim(1)?;
        let qkv = project(cpu, Some(&self.attn_norm), &self.qkv, x)?;
        let part = |i: usize| qkv.narrow(1, i * width, width);
        let attended = attention.attend(&AttentionCall {
            queries: &part(0)?,
            heads,
            head_dim: width / heads,
            kv: Kv::Dense {
                k: &part(1)?,
                v: &part(2)?,
            },
            causal: false,
            weights: false,
        })?;
        let x = project_onto(cpu, &self.out, &attended.output, x)?;
        ops::reuse(cpu, qkv)?;
        ops::reuse(cpu, attended.output)?;
        let out = self.mlp.forward(cpu, &x)?;
        ops::reuse(cpu, x)?;
        Ok(out)
    }
}
