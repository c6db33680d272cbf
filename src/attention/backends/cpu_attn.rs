//! `CPU_ATTN`: this crate's vector kernels, reading tensors and caches in place.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::naive::Naive;
use super::plain_objections;
use crate::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, CrossRow, GrowingRow, Kv, Objection,
    SliceKv,
};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::attention::{self, CrossQueries, GrowingQueries, PackedDtype, Rows, Workspace};

/// Fused attention on the CPU. A row's output does not depend on the rows beside it.
///
/// Tensors of any float type are taken; sums and outputs are f32 (rounding an output to bf16 would
/// cost up to 4e-3).
pub struct CpuAttention {
    cpu: Cpu,
    encoder: PackedDtype,
    /// Kept from call to call; each call takes one out, or makes one.
    workspaces: Mutex<Vec<Workspace>>,
}

impl CpuAttention {
    /// Runs on `cpu`; `encoder` is the dtype that attention without a cache is computed in.
    #[must_use]
    pub fn new(cpu: Cpu, encoder: PackedDtype) -> CpuAttention {
        CpuAttention {
            cpu,
            encoder,
            workspaces: Mutex::default(),
        }
    }

    /// The kernels on slices: what [`AttentionBackend::attend`] computes, without a tensor. `out` is
    /// `(q.count, heads × head_dim)`.
    ///
    /// # Panics
    /// Where a slice is too short or a cache has other heads.
    pub(crate) fn attend_slices<'a>(
        &self,
        q: Rows<'_>,
        shape: (usize, usize),
        kv: &SliceKv<'a>,
        causal: bool,
        out: &mut [f32],
    ) {
        match kv {
            SliceKv::Dense { k, v } => self.dense([q, *k, *v], shape, causal, out),
            SliceKv::Growing(rows) => {
                let row = |row: &GrowingRow<'a>| GrowingQueries {
                    cache: row.cache,
                    lineage: row.lineage,
                    beam: row.beam,
                    count: row.queries,
                    kv_len: row.kv_len,
                };
                let rows: Vec<_> = rows.iter().map(row).collect();
                attention::growing(&self.cpu, q, shape, &rows, causal, out);
            }
            SliceKv::Cross(rows) => {
                let row = |row: &CrossRow<'a>| CrossQueries {
                    cache: row.cache,
                    count: row.queries,
                };
                let rows: Vec<_> = rows.iter().map(row).collect();
                attention::cross(&self.cpu, q, shape, &rows, causal, out);
            }
        }
    }

    fn dense(&self, qkv: [Rows<'_>; 3], shape: (usize, usize), causal: bool, out: &mut [f32]) {
        let lock = || {
            self.workspaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut workspace = lock().pop().unwrap_or_default();
        attention::dense(
            &self.cpu,
            self.encoder,
            qkv,
            shape,
            causal,
            &mut workspace,
            out,
        );
        lock().push(workspace);
    }
}

impl AttentionBackend for CpuAttention {
    fn name(&self) -> &str {
        "CPU_ATTN"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        plain_objections(query)
    }

    fn in_place(&self) -> Option<&CpuAttention> {
        Some(self)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        if call.weights {
            // Word timing looks at whole matrices of weights, once per window.
            return Naive::new().attend(call);
        }
        call.check()?;
        let mut out = vec![0.0; call.queries.elem_count()];
        let shape = (call.heads, call.head_dim);
        with_rows(call.queries, |q| {
            let mut attend =
                |kv: &SliceKv<'_>| self.attend_slices(q, shape, kv, call.causal, &mut out);
            match &call.kv {
                Kv::Dense { k, v } => {
                    with_rows(k, |k| with_rows(v, |v| attend(&SliceKv::Dense { k, v })))??;
                }
                Kv::Growing(rows) => attend(&SliceKv::Growing(rows)),
                Kv::Cross(rows) => attend(&SliceKv::Cross(rows)),
            }
            Ok::<_, crate::Error>(())
        })??;
        let output = Tensor::from_vec(out, call.queries.shape(), &Device::Cpu)?;
        Ok(Attended {
            output,
            weights: None,
        })
    }
}

/// Lends a matrix's rows as f32: in place where they are that, converted otherwise.
fn with_rows<T>(x: &Tensor, body: impl FnOnce(Rows<'_>) -> T) -> Result<T> {
    let in_place = x.dtype() == DType::F32 && x.device().is_cpu() && x.stride()[1] == 1;
    let copy = match in_place {
        true => None,
        false => Some(
            x.to_device(&Device::Cpu)?
                .to_dtype(DType::F32)?
                .contiguous()?,
        ),
    };
    let x = copy.as_ref().unwrap_or(x);
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(data)) => {
            let data = &data[layout.start_offset()..];
            let count = layout.dims()[0];
            Ok(body(Rows {
                data,
                stride: layout.stride()[0],
                count,
            }))
        }
        _ => Err(
            candle_core::Error::Msg("queries, keys and values must be on the CPU".into()).into(),
        ),
    }
}
