//! `CPU_ATTN`: this crate's vector kernels, reading tensors and caches in place.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::naive::Naive;
use super::plain_objections;
use crate::attention::{Attended, AttentionBackend, AttentionCall, AttentionQuery, Kv, Objection};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::attention::{self, CrossQueries, GrowingQueries, Precision, Rows, Workspace};

/// Fused attention on the CPU. A row's output does not depend on the rows beside it.
///
/// Tensors of any float type are taken; sums and outputs are f32 (rounding an output to bf16 would
/// cost up to 4e-3).
pub struct CpuAttention {
    cpu: Cpu,
    encoder: Precision,
    /// Kept from call to call; each call takes one out, or makes one.
    workspaces: Mutex<Vec<Workspace>>,
}

impl CpuAttention {
    /// Runs on `cpu`; `encoder` is how precisely attention without a cache is computed.
    #[must_use]
    pub fn new(cpu: Cpu, encoder: Precision) -> CpuAttention {
        CpuAttention {
            cpu,
            encoder,
            workspaces: Mutex::default(),
        }
    }

    fn dense(
        &self,
        call: &AttentionCall<'_>,
        [q, k, v]: [&Tensor; 3],
        out: &mut [f32],
    ) -> Result<()> {
        let lock = || {
            self.workspaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut workspace = lock().pop().unwrap_or_default();
        let shape = (call.heads, call.head_dim);
        let (cpu, encoder) = (&self.cpu, self.encoder);
        with_rows(q, |q| {
            with_rows(k, |k| {
                with_rows(v, |v| {
                    attention::dense(
                        cpu,
                        encoder,
                        [q, k, v],
                        shape,
                        call.causal,
                        &mut workspace,
                        out,
                    );
                })
            })
        })???;
        lock().push(workspace);
        Ok(())
    }
}

impl AttentionBackend for CpuAttention {
    fn name(&self) -> &str {
        "CPU_ATTN"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        plain_objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        if call.weights {
            // Word timing looks at whole matrices of weights, once per window.
            return Naive::new().attend(call);
        }
        call.check()?;
        let mut out = self.cpu.spare().take(call.queries.elem_count());
        let shape = (call.heads, call.head_dim);
        match &call.kv {
            Kv::Dense { k, v } => self.dense(call, [call.queries, k, v], &mut out)?,
            Kv::Growing(rows) => {
                let rows: Vec<GrowingQueries> = rows
                    .iter()
                    .map(|row| GrowingQueries {
                        cache: row.cache,
                        lineage: row.lineage,
                        beam: row.beam,
                        count: row.queries,
                        kv_len: row.kv_len,
                    })
                    .collect();
                with_rows(call.queries, |q| {
                    attention::growing(&self.cpu, q, shape, &rows, call.causal, &mut out);
                })?;
            }
            Kv::Cross(rows) => {
                let rows: Vec<CrossQueries> = rows
                    .iter()
                    .map(|row| CrossQueries {
                        cache: row.cache,
                        count: row.queries,
                    })
                    .collect();
                with_rows(call.queries, |q| {
                    attention::cross(&self.cpu, q, shape, &rows, call.causal, &mut out);
                })?;
            }
        }
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
