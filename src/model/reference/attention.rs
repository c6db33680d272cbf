//! Multi-head attention, computed by whichever backend is planned.

use candle_core::{Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear, linear_no_bias, ops};

use super::state::KeysValues;
use crate::attention::{AttentionBackend, AttentionCall, Kv};
use crate::error::{Error, Result};

/// `MultiHeadAttention`: four projections. The key's has no bias.
pub(super) struct MultiHeadAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    n_head: usize,
}

impl MultiHeadAttention {
    /// Keys and values are made from vectors of width `n_source`.
    pub fn load(
        n_state: usize,
        n_source: usize,
        n_head: usize,
        vb: &VarBuilder<'_>,
    ) -> candle_core::Result<Self> {
        Ok(Self {
            query: linear(n_state, n_state, vb.pp("query"))?,
            key: linear_no_bias(n_source, n_state, vb.pp("key"))?,
            value: linear(n_source, n_state, vb.pp("value"))?,
            out: linear(n_state, n_state, vb.pp("out"))?,
            n_head,
        })
    }

    /// x `(rows, tokens, n_state)` → the same shape.
    pub fn queries(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.query.forward(x)?)
    }

    /// x `(rows, tokens, n_source)` → keys and values `(rows, tokens, n_state)`.
    pub fn keys_values(&self, x: &Tensor) -> Result<KeysValues> {
        Ok(KeysValues {
            k: self.key.forward(x)?,
            v: self.value.forward(x)?,
        })
    }

    /// Each row's queries `(rows, tokens, n_state)` to its keys and values, or all rows' to those of the
    /// one row there is; then the output projection.
    pub fn attend(
        &self,
        backend: &dyn AttentionBackend,
        q: &Tensor,
        kv: &KeysValues,
        causal: bool,
    ) -> Result<Tensor> {
        let (rows, _, n_state) = q.dims3()?;
        let shared = (rows, kv.k.dim(1)?, n_state);
        let (k, v) = (kv.k.broadcast_as(shared)?, kv.v.broadcast_as(shared)?);
        let attended = (0..rows)
            .map(|row| self.attend_row(backend, [&q.get(row)?, &k.get(row)?, &v.get(row)?], causal))
            .collect::<Result<Vec<_>>>()?;
        Ok(self.out.forward(&Tensor::stack(&attended, 0)?)?)
    }

    /// One row: `(tokens, n_state)` each.
    fn attend_row(
        &self,
        backend: &dyn AttentionBackend,
        [q, k, v]: [&Tensor; 3],
        causal: bool,
    ) -> Result<Tensor> {
        let attended = backend.attend(&AttentionCall {
            queries: q,
            heads: self.n_head,
            head_dim: q.dim(1)? / self.n_head,
            kv: Kv::Dense { k, v },
            causal,
            weights: false,
        })?;
        let output = attended.output;
        if output.shape() != q.shape() {
            let (name, got, due) = (backend.name(), output.shape(), q.shape());
            return Err(Error::Attention(format!(
                "{name} gave {got:?} where {due:?} is due"
            )));
        }
        Ok(output.to_device(q.device())?.to_dtype(q.dtype())?)
    }

    /// One head's weights on the keys of a single row: q `(rows, tokens, n_state)`, k
    /// `(1, positions, n_state)` → `(rows, tokens, positions)`.
    pub fn weights(&self, q: &Tensor, k: &Tensor, head: usize) -> Result<Tensor> {
        let width = q.dim(2)? / self.n_head;
        let of_head = |x: &Tensor| x.narrow(2, head * width, width)?.contiguous();
        let scores = of_head(q)?.broadcast_matmul(&of_head(k)?.t()?)?;
        Ok(ops::softmax_last_dim(&(scores / (width as f64).sqrt())?)?)
    }
}
