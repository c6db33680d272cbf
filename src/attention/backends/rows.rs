//! A call taken apart: each row's queries, keys and values as plain tensors.
//!
//! The slow, easy way in. A backend that reads caches in place does not need this.

use candle_core::{DType, Device, Tensor};

use crate::attention::{Attended, AttentionCall, Kv};
use crate::error::{Error, Result};

/// One row of a call.
pub struct AttentionRow {
    /// `(heads, queries, head_dim)`, as typed in the call.
    pub q: Tensor,
    /// `(heads, keys, head_dim)`
    pub k: Tensor,
    /// `(heads, keys, head_dim)`
    pub v: Tensor,
    /// Whether query `i` of `n` sees only keys `0 ..= m - n + i` of `m`.
    pub causal: bool,
}

impl AttentionRow {
    /// `(queries, keys)` f32: 1 where a query sees a key, else 0. `None` if all see all.
    ///
    /// # Errors
    /// What the tensor library reports.
    pub fn visible(&self) -> Result<Option<Tensor>> {
        if !self.causal {
            return Ok(None);
        }
        let (n, m) = (self.q.dim(1)?, self.k.dim(1)?);
        let sees = |query: usize, key: usize| f32::from(u8::from(key + n <= m + query));
        let mask: Vec<f32> = (0..n)
            .flat_map(|i| (0..m).map(move |j| sees(i, j)))
            .collect();
        Ok(Some(Tensor::from_vec(mask, (n, m), self.q.device())?))
    }
}

impl AttentionCall<'_> {
    /// Checks that the shapes fit together.
    ///
    /// # Errors
    /// [`Error::Attention`] with what does not fit.
    pub fn check(&self) -> Result<()> {
        let width = self.heads * self.head_dim;
        let (tokens, queries_width) = self.queries.dims2()?;
        let misfit = |what: &str, got: String, want: String| {
            Err(Error::Attention(format!("{what} {got}, expected {want}")))
        };
        if queries_width != width || width == 0 {
            let shape = format!("{:?}", self.queries.shape());
            return misfit("queries of shape", shape, format!("a width of {width}"));
        }
        let counts: usize = match &self.kv {
            Kv::Dense { k, v } => {
                let (keys, values) = (k.dims2()?, v.dims2()?);
                if keys != values || keys.1 != width {
                    return misfit(
                        "keys and values",
                        format!("{keys:?}, {values:?}"),
                        format!("a width of {width}"),
                    );
                }
                tokens
            }
            Kv::Growing(rows) => rows.iter().map(|row| row.queries).sum(),
            Kv::Cross(rows) => rows.iter().map(|row| row.queries).sum(),
        };
        let caches_fit = match &self.kv {
            Kv::Dense { .. } => true,
            Kv::Growing(rows) => rows.iter().all(|row| {
                let cache = (row.cache.heads(), row.cache.head_dim());
                cache == (self.heads, self.head_dim) && row.kv_len <= row.cache.capacity()
            }),
            Kv::Cross(rows) => rows
                .iter()
                .all(|row| row.cache.shape() == (self.heads, self.head_dim)),
        };
        if !caches_fit {
            let want = format!("{} heads of {}", self.heads, self.head_dim);
            return misfit("a cache of", "other heads or fewer positions".into(), want);
        }
        if counts != tokens {
            return misfit("rows of", format!("{counts} queries"), format!("{tokens}"));
        }
        Ok(())
    }

    /// Every row's queries, keys and values, in the call's order.
    ///
    /// # Errors
    /// [`Error::Attention`] where shapes don't fit together; what the tensor library reports.
    pub fn rows(&self) -> Result<Vec<AttentionRow>> {
        self.check()?;
        let dtype = self.queries.dtype();
        let by_head = |x: &Tensor| -> Result<Tensor> {
            let rows = x.dim(0)?;
            Ok(x.reshape((rows, self.heads, self.head_dim))?
                .transpose(0, 1)?
                .contiguous()?)
        };
        let cached = |x: Vec<f32>, len: usize| -> Result<Tensor> {
            let shape = (self.heads, len, self.head_dim);
            Ok(Tensor::from_vec(x, shape, &Device::Cpu)?.to_dtype(dtype)?)
        };
        let mut first = 0;
        let mut row = |count: usize, k: Tensor, v: Tensor| -> Result<AttentionRow> {
            let q = by_head(&self.queries.narrow(0, first, count)?)?;
            first += count;
            Ok(AttentionRow {
                q,
                k,
                v,
                causal: self.causal,
            })
        };
        match &self.kv {
            Kv::Dense { k, v } => Ok(vec![row(self.queries.dim(0)?, by_head(k)?, by_head(v)?)?]),
            Kv::Growing(rows) => rows
                .iter()
                .map(|r| {
                    let keys = r.cache.keys(r.lineage, r.beam, r.kv_len);
                    let values = r.cache.values(r.lineage, r.beam, r.kv_len);
                    row(
                        r.queries,
                        cached(keys, r.kv_len)?,
                        cached(values, r.kv_len)?,
                    )
                })
                .collect(),
            Kv::Cross(rows) => rows
                .iter()
                .map(|r| {
                    let len = r.cache.len();
                    row(
                        r.queries,
                        cached(r.cache.keys(), len)?,
                        cached(r.cache.values(), len)?,
                    )
                })
                .collect(),
        }
    }
}

impl Attended {
    /// Puts rows together: outputs `(heads, queries, head_dim)`, weights `(heads, queries, keys)`
    /// where `keep_weights`.
    ///
    /// # Errors
    /// What the tensor library reports.
    pub fn from_rows(rows: Vec<(Tensor, Tensor)>, keep_weights: bool) -> Result<Attended> {
        let mut outputs = Vec::with_capacity(rows.len());
        let mut weights = Vec::with_capacity(rows.len());
        for (output, row_weights) in rows {
            let (heads, queries, head_dim) = output.dims3()?;
            outputs.push(
                output
                    .transpose(0, 1)?
                    .reshape((queries, heads * head_dim))?,
            );
            if keep_weights {
                weights.push(row_weights.to_dtype(DType::F32)?);
            }
        }
        let output = Tensor::cat(&outputs, 0)?.contiguous()?;
        Ok(Attended {
            output,
            weights: keep_weights.then_some(weights),
        })
    }
}
