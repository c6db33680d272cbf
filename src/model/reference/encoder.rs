//! The audio encoder: one window of log-mel in, one vector per 20 ms out.

use candle_core::{Module, Tensor};
use candle_nn::{Conv1d, Conv1dConfig, LayerNorm, VarBuilder, conv1d, layer_norm};

use super::block::{EPS, ResidualAttentionBlock, normalize};
use crate::attention::AttentionBackend;
use crate::dims::ModelDimensions;
use crate::error::Result;

/// `AudioEncoder`: two convolutions, positions, a stack of blocks and a final norm.
pub(super) struct AudioEncoder {
    conv1: Conv1d,
    conv2: Conv1d,
    /// `(n_audio_ctx, n_audio_state)`
    positional_embedding: Tensor,
    blocks: Vec<ResidualAttentionBlock>,
    ln_post: LayerNorm,
}

impl AudioEncoder {
    pub fn load(dims: &ModelDimensions, vb: &VarBuilder<'_>) -> candle_core::Result<Self> {
        let n_state = dims.n_audio_state;
        let config = |stride| Conv1dConfig {
            padding: 1,
            stride,
            ..Conv1dConfig::default()
        };
        let block = |i| {
            let vb = vb.pp("blocks").pp(i);
            ResidualAttentionBlock::load(n_state, dims.n_audio_head, None, &vb)
        };
        Ok(Self {
            conv1: conv1d(dims.n_mels, n_state, 3, config(1), vb.pp("conv1"))?,
            conv2: conv1d(n_state, n_state, 3, config(2), vb.pp("conv2"))?,
            positional_embedding: vb.get((dims.n_audio_ctx, n_state), "positional_embedding")?,
            blocks: (0..dims.n_audio_layer)
                .map(block)
                .collect::<candle_core::Result<_>>()?,
            ln_post: layer_norm(n_state, EPS, vb.pp("ln_post"))?,
        })
    }

    /// Every stage, `(1, positions, n_audio_state)` each: the stem, each block's output, the final norm's.
    /// `mel`: `(1, n_mels, frames)`.
    pub fn stages(&self, backend: &dyn AttentionBackend, mel: &Tensor) -> Result<Vec<Tensor>> {
        let mut stages = vec![self.stem(mel)?];
        let mut x = stages[0].clone();
        for block in &self.blocks {
            (x, _) = block.self_attention(backend, &x, None, false)?;
            x = block.mlp(&x)?;
            stages.push(x.clone());
        }
        stages.push(normalize(&self.ln_post, &x)?);
        Ok(stages)
    }

    /// Both convolutions with GELU, plus the positions.
    fn stem(&self, mel: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(mel)?.gelu_erf()?;
        let x = self.conv2.forward(&x)?.gelu_erf()?;
        let x = x.transpose(1, 2)?.contiguous()?;
        let positions = self.positional_embedding.narrow(0, 0, x.dim(1)?)?;
        Ok(x.broadcast_add(&positions)?)
    }
}
