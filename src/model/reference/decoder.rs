//! The text decoder: one window's rows a call, each with the same number of new tokens.

use candle_core::{Module, Tensor};
use candle_nn::{Embedding, LayerNorm, VarBuilder, embedding, layer_norm};

use super::block::{EPS, ResidualAttentionBlock, normalize};
use super::state::{Audio, Text};
use crate::attention::Plan;
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// `TextDecoder`: token and position embeddings, a stack of blocks, and the output matrix.
pub(super) struct TextDecoder {
    /// `(n_vocab, n_text_state)`
    token_embedding: Embedding,
    /// `(n_vocab, n_text_state)`: the embedding again, in most models.
    output: Tensor,
    /// `(n_text_ctx, n_text_state)`
    positional_embedding: Tensor,
    blocks: Vec<ResidualAttentionBlock>,
    ln: LayerNorm,
}

impl TextDecoder {
    /// With `output`, the output matrix's name where it is not the embedding.
    pub fn load(
        dims: &ModelDimensions,
        vb: &VarBuilder<'_>,
        output: Option<&str>,
    ) -> candle_core::Result<Self> {
        let n_state = dims.n_text_state;
        let token_embedding = embedding(dims.n_vocab, n_state, vb.pp("token_embedding"))?;
        let block = |i| {
            let vb = vb.pp("blocks").pp(i);
            ResidualAttentionBlock::load(n_state, dims.n_text_head, Some(dims.n_audio_state), &vb)
        };
        Ok(Self {
            output: match output {
                Some(name) => vb.root().get((dims.n_vocab, n_state), name)?,
                None => token_embedding.embeddings().clone(),
            },
            token_embedding,
            positional_embedding: vb.get((dims.n_text_ctx, n_state), "positional_embedding")?,
            blocks: (0..dims.n_text_layer)
                .map(block)
                .collect::<candle_core::Result<_>>()?,
            ln: layer_norm(n_state, EPS, vb.pp("ln"))?,
        })
    }

    /// What cross-attention sees of a window: `encoded` `(1, positions, n_audio_state)`.
    pub fn listen(&self, encoded: &Tensor) -> Result<Audio> {
        let layer = |block: &ResidualAttentionBlock| block.cross()?.0.keys_values(encoded);
        let layers = self.blocks.iter().map(layer).collect::<Result<_>>()?;
        Ok(Audio { layers })
    }

    /// Tokens `(rows, new)` behind `text` → `(rows, new, n_text_state)` before the final norm, and the text
    /// with them.
    pub fn forward(
        &self,
        plan: &Plan,
        tokens: &Tensor,
        audio: &Audio,
        text: &Text,
    ) -> Result<(Tensor, Text)> {
        let (rows, new) = tokens.dims2()?;
        let past = text.continued_by(rows, tokens.device())?;
        let positions = self.positional_embedding.narrow(0, text.len, new)?;
        let mut x = self
            .token_embedding
            .forward(tokens)?
            .broadcast_add(&positions)?;
        let (mut layers, mut queries) = (Vec::new(), Vec::new());
        for (i, block) in self.blocks.iter().enumerate() {
            let (attended, kv) =
                block.self_attention(plan.decoder(), &x, past.layers.get(i), true)?;
            let (attended, q) = block.cross_attention(plan.cross(), &attended, audio.layer(i)?)?;
            x = block.mlp(&attended)?;
            layers.push(kv);
            queries.push(q);
        }
        let weights = self.cross_weights(&queries, audio, &text.watched)?;
        Ok((x, past.extended(layers, weights, new)?))
    }

    /// The watched heads' weights on the audio, `(rows, heads, new, positions)`; none if none is watched.
    fn cross_weights(
        &self,
        queries: &[Tensor],
        audio: &Audio,
        watched: &[(usize, usize)],
    ) -> Result<Option<Tensor>> {
        let of = |&(layer, head): &(usize, usize)| {
            let missing = || Error::Engine(format!("no layer {layer} to watch"));
            let q = queries.get(layer).ok_or_else(missing)?;
            let (cross_attn, _) = self.blocks[layer].cross()?;
            cross_attn.weights(q, &audio.layer(layer)?.k, head)
        };
        let planes = watched.iter().map(of).collect::<Result<Vec<_>>>()?;
        match planes.is_empty() {
            true => Ok(None),
            false => Ok(Some(Tensor::stack(&planes, 1)?)),
        }
    }

    /// x `(tokens, n_text_state)` → `(tokens, n_vocab)`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(normalize(&self.ln, x)?.matmul(&self.output.t()?)?)
    }
}
