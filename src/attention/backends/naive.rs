//! `NAIVE`: attention as it is written down. The judge of the fast ones.

use candle_core::{DType, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::plain_objections;
use super::rows::AttentionRow;
use crate::attention::{Attended, AttentionBackend, AttentionCall, AttentionQuery, Objection};
use crate::error::Result;

/// Matmul, softmax, matmul, row by row, with whole matrices of scores; returns weights if asked.
pub struct Naive {
    dtype: DType,
}

impl Naive {
    /// Computes in f32.
    #[must_use]
    pub fn new() -> Naive {
        Naive { dtype: DType::F32 }
    }

    /// Computes in f64, to judge others by; its output is f64.
    #[must_use]
    pub fn in_f64() -> Naive {
        Naive { dtype: DType::F64 }
    }

    /// Output and weights of one row.
    fn attend_row(&self, row: &AttentionRow) -> Result<(Tensor, Tensor)> {
        let [q, k, v] = [&row.q, &row.k, &row.v].map(|x| x.to_dtype(self.dtype));
        let (q, k, v) = (q?, k?, v?);
        let scale = 1.0 / (q.dim(2)? as f64).sqrt();
        let mut scores = (q.matmul(&k.t()?)? * scale)?;
        let visible = row
            .visible()?
            .map(|visible| visible.to_dtype(self.dtype))
            .transpose()?;
        if let Some(visible) = &visible {
            let hidden = ((visible - 1.0)? * 1e30)?;
            scores = scores.broadcast_add(&hidden)?;
        }
        let mut weights = softmax_last_dim(&scores)?;
        if let Some(visible) = &visible {
            // A query that sees nothing has all its scores at the maximum.
            weights = weights.broadcast_mul(visible)?;
        }
        Ok((weights.matmul(&v)?, weights))
    }
}

impl Default for Naive {
    fn default() -> Self {
        Naive::new()
    }
}

impl AttentionBackend for Naive {
    fn name(&self) -> &str {
        "NAIVE"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        plain_objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        let rows = call.rows()?;
        let rows = rows
            .iter()
            .map(|row| self.attend_row(row))
            .collect::<Result<_>>()?;
        Attended::from_rows(rows, call.weights)
    }
}
