//! The transformer block that encoder and decoder share.

use candle_core::{Module, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder, layer_norm, linear, ops};

use super::attention::MultiHeadAttention;
use super::state::KeysValues;
use crate::attention::AttentionBackend;
use crate::error::{Error, Result};

/// PyTorch's default, which every checkpoint was trained with.
pub(super) const EPS: f64 = 1e-5;

/// `ResidualAttentionBlock`: attention (in the decoder also to the audio) and an MLP, each on a residual
/// and behind a norm of its own.
pub(super) struct ResidualAttentionBlock {
    attn: MultiHeadAttention,
    attn_ln: LayerNorm,
    cross_attn: Option<(MultiHeadAttention, LayerNorm)>,
    mlp: [Linear; 2],
    mlp_ln: LayerNorm,
}

impl ResidualAttentionBlock {
    /// With `n_audio_state`, the width of what the encoder says, it has cross-attention.
    pub fn load(
        n_state: usize,
        n_head: usize,
        n_audio_state: Option<usize>,
        vb: &VarBuilder<'_>,
    ) -> candle_core::Result<Self> {
        let attention = |name: &str, n_source| {
            MultiHeadAttention::load(n_state, n_source, n_head, &vb.pp(name))
        };
        let norm = |name: &str| layer_norm(n_state, EPS, vb.pp(name));
        let cross_attn = match n_audio_state {
            Some(width) => Some((attention("cross_attn", width)?, norm("cross_attn_ln")?)),
            None => None,
        };
        Ok(Self {
            attn: attention("attn", n_state)?,
            attn_ln: norm("attn_ln")?,
            cross_attn,
            mlp: [
                linear(n_state, 4 * n_state, vb.pp("mlp.0"))?,
                linear(4 * n_state, n_state, vb.pp("mlp.2"))?,
            ],
            mlp_ln: norm("mlp_ln")?,
        })
    }

    /// x `(rows, tokens, n_state)` behind the rows' `past` → the same shape, and all that the rows' next
    /// tokens attend to.
    pub fn self_attention(
        &self,
        backend: &dyn AttentionBackend,
        x: &Tensor,
        past: Option<&KeysValues>,
        causal: bool,
    ) -> Result<(Tensor, KeysValues)> {
        let normed = normalize(&self.attn_ln, x)?;
        let kv = self.attn.keys_values(&normed)?.behind(past)?;
        let q = self.attn.queries(&normed)?;
        let attended = self.attn.attend(backend, &q, &kv, causal)?;
        Ok(((x + attended)?, kv))
    }

    /// x `(rows, tokens, n_state)` → the same shape, and the queries that were asked.
    pub fn cross_attention(
        &self,
        backend: &dyn AttentionBackend,
        x: &Tensor,
        audio: &KeysValues,
    ) -> Result<(Tensor, Tensor)> {
        let (cross_attn, ln) = self.cross()?;
        let q = cross_attn.queries(&normalize(ln, x)?)?;
        let attended = cross_attn.attend(backend, &q, audio, false)?;
        Ok(((x + attended)?, q))
    }

    /// Cross-attention's projections, and the norm in front of them.
    pub fn cross(&self) -> Result<&(MultiHeadAttention, LayerNorm)> {
        let missing = || Error::Engine("a block without cross-attention".into());
        self.cross_attn.as_ref().ok_or_else(missing)
    }

    /// x of any shape `(…, n_state)` → the same shape.
    pub fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.mlp;
        let hidden = first.forward(&normalize(&self.mlp_ln, x)?)?.gelu_erf()?;
        Ok((x + second.forward(&hidden)?)?)
    }
}

/// In plain operations: candle's fused norm takes no doubles.
pub(super) fn normalize(ln: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    let bias = ln
        .bias()
        .map_or_else(|| ln.weight().zeros_like(), |b| Ok(b.clone()))?;
    Ok(ops::layer_norm_slow(x, ln.weight(), &bias, EPS as f32)?)
}
