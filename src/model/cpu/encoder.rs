//! The audio encoder: one window of log-mel in, one vector per 20 ms out.

use super::attention::attend;
use super::block::{LayerNorm, Mlp, project, project_onto};
use super::matrix::Matrix;
use crate::attention::{AttentionBackend, SliceKv};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::conv::{self, PackedConv};
use crate::kernels::linear::{PackedLinear, layer_norm};
use crate::kernels::storage::Store;

/// Two convolutions, sinusoidal positions, a stack of blocks and a final norm.
pub(super) struct Encoder {
    pub conv1: PackedConv,
    pub conv2: PackedConv,
    /// `(positions, width)`
    pub positions: Store<f32>,
    pub blocks: Vec<EncoderBlock>,
    pub norm: LayerNorm,
    pub heads: usize,
}

/// Self-attention and an MLP, each on a residual.
pub(super) struct EncoderBlock {
    pub attn_norm: LayerNorm,
    /// Query, key and value in one matrix, `(3 × width, width)`.
    pub qkv: PackedLinear,
    pub out: PackedLinear,
    pub mlp: Mlp,
}

impl Encoder {
    /// `mel`: `(n_mels, frames)` row-major with `frames` even → `(frames / 2, width)`.
    pub fn forward<'a>(
        &self,
        cpu: &'a Cpu,
        attention: &dyn AttentionBackend,
        mel: &[f32],
        frames: usize,
    ) -> Result<Matrix<'a>> {
        let mut x = self.stem(cpu, mel, frames);
        for block in &self.blocks {
            x = block.forward(cpu, attention, self.heads, &x)?;
        }
        Ok(self.finish(cpu, &x))
    }

    /// Both convolutions with GELU, plus the positions: `(frames / 2, width)`.
    pub fn stem<'a>(&self, cpu: &'a Cpu, mel: &[f32], frames: usize) -> Matrix<'a> {
        let (width, positions) = (self.conv2.n_out(), frames / 2);
        let mut hidden = Matrix::new(cpu, frames, self.conv1.n_out());
        conv::from_channels(cpu, &self.conv1, mel, frames, hidden.data_mut());
        let mut out = Matrix::new(cpu, positions, width);
        let offset = Some(&self.positions.numbers()[..positions * width]);
        let (conv, hidden) = (&self.conv2, hidden.data());
        conv::from_rows(cpu, conv, hidden, frames, offset, out.data_mut());
        out
    }

    /// The final norm.
    pub fn finish<'a>(&self, cpu: &'a Cpu, x: &Matrix<'_>) -> Matrix<'a> {
        let mut out = Matrix::new(cpu, x.rows(), x.width());
        layer_norm(cpu, x.data(), x.rows(), &self.norm.norm(), out.data_mut());
        out
    }
}

impl EncoderBlock {
    /// x `(positions, width)` → the same shape.
    pub fn forward<'a>(
        &self,
        cpu: &'a Cpu,
        attention: &dyn AttentionBackend,
        heads: usize,
        x: &Matrix<'_>,
    ) -> Result<Matrix<'a>> {
        let width = x.width();
        let qkv = project(cpu, Some(&self.attn_norm), &self.qkv, x);
        let [q, k, v] = [0, 1, 2].map(|part| qkv.columns(part * width));
        let mut attended = Matrix::new(cpu, x.rows(), width);
        let (shape, kv) = ((heads, width / heads), SliceKv::Dense { k, v });
        attend(attention, q, shape, &kv, false, attended.data_mut())?;
        drop(qkv);
        let x = project_onto(cpu, &self.out, &attended, x);
        drop(attended);
        Ok(self.mlp.forward(cpu, &x))
    }
}
