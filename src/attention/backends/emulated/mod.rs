//! The backends that vLLM's ROCm rules choose, computed on the CPU with the algorithm of each.
//!
//! A file for each says how its GPU kernel cuts up a row ([`Design::walk`]); the arithmetic is
//! [`kernels::emulated`](crate::kernels::emulated). Queries, keys and values are rounded to the dtype
//! that was planned for, sums are f32, and the output is rounded again as a GPU would store it. What each
//! can serve is its row in [`capability`], and nowhere else.

mod aiter_fa;
mod flash;
mod memo;
mod rocm_attn;
#[cfg(test)]
mod tests;
mod triton;
mod unified;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use memo::Memo;

use super::{Naive, plain_objections};
use crate::attention::vllm::capability::{self, Gpu};
use crate::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, AttentionType, BackendName,
    CrossRow, Dtype, GrowingRow, Kv, Objection, Platform, RuleSet,
};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::emulated::{self, History, Queries, Rounding, Source, Walk};

/// What a row looks like to a kernel that has to choose how to cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// New tokens.
    queries: usize,
    /// Keys, the new tokens' own included.
    keys: usize,
    /// Whether a token sees only what is before it.
    causal: bool,
    /// Whether keys and values come straight from the layer, not from a cache.
    dense: bool,
}

/// One of vLLM's backends.
struct Design {
    name: BackendName,
    /// Serves Whisper's encoder although its row says otherwise: the encoder's chooser does not ask it.
    encoder: bool,
    /// How its kernels cut up a row.
    walk: fn(Shape) -> Walk,
}

static DESIGNS: [&Design; 5] = [
    &triton::DESIGN,
    &unified::DESIGN,
    &rocm_attn::DESIGN,
    &aiter_fa::DESIGN,
    &flash::DESIGN,
];

/// A backend of vLLM's ROCm platform, on the CPU, in one dtype.
pub struct EmulatedBackend {
    cpu: Cpu,
    design: &'static Design,
    dtype: Dtype,
    histories: Memo,
}

impl EmulatedBackend {
    /// All of them, in float16 until they are planned for something else.
    #[must_use]
    pub fn all(cpu: &Cpu) -> Vec<Arc<dyn AttentionBackend>> {
        let one = |design: &&'static Design| -> Arc<dyn AttentionBackend> {
            Arc::new(Self::new(cpu.clone(), design, Dtype::F16))
        };
        DESIGNS.iter().map(one).collect()
    }

    fn new(cpu: Cpu, design: &'static Design, dtype: Dtype) -> Self {
        Self {
            cpu,
            design,
            dtype,
            histories: Memo::default(),
        }
    }

    /// The output before it is rounded, `(tokens, heads × head_dim)`.
    fn compute(&self, call: &AttentionCall<'_>) -> Result<Vec<f32>> {
        call.check()?;
        let queries = plain(call.queries)?;
        let shape = (call.heads, call.head_dim);
        let mut out = vec![0.0; queries.len()];
        match &call.kv {
            Kv::Dense { k, v } => {
                let (count, len) = (call.queries.dim(0)?, k.dim(0)?);
                let (k, v) = (plain(k)?, plain(v)?);
                let parts = [&k, &v].map(|x| Source::by_token(x, shape));
                let history = History::new(&self.cpu, self.rounding(), parts, shape, len);
                self.row(call, &queries, count, &history, &mut out);
            }
            Kv::Growing(rows) => {
                let mut first = 0;
                for row in *rows {
                    let history = self.grown(call, row);
                    first = self.next_row(call, &queries, first, row.queries, &history, &mut out);
                }
            }
            Kv::Cross(rows) => {
                let mut first = 0;
                for row in *rows {
                    let history = self.listened(row);
                    first = self.next_row(call, &queries, first, row.queries, &history, &mut out);
                }
            }
        }
        Ok(out)
    }

    fn grown(&self, call: &AttentionCall<'_>, row: &GrowingRow<'_>) -> History {
        let keys = row.cache.keys(row.lineage, row.beam, row.kv_len);
        let values = row.cache.values(row.lineage, row.beam, row.kv_len);
        let parts = [&keys, &values].map(|x| Source::by_head(x, call.head_dim, row.kv_len));
        let shape = (call.heads, call.head_dim);
        History::new(&self.cpu, self.rounding(), parts, shape, row.kv_len)
    }

    fn listened(&self, row: &CrossRow<'_>) -> Arc<History> {
        self.histories.history(row.cache, || {
            let (shape, len) = (row.cache.shape(), row.cache.len());
            let (keys, values) = (row.cache.keys(), row.cache.values());
            let parts = [&keys, &values].map(|x| Source::by_head(x, shape.1, len));
            History::new(&self.cpu, self.rounding(), parts, shape, len)
        })
    }

    /// Attends for `count` tokens from `first` on; returns the token after them.
    fn next_row(
        &self,
        call: &AttentionCall<'_>,
        queries: &[f32],
        first: usize,
        count: usize,
        history: &History,
        out: &mut [f32],
    ) -> usize {
        let width = call.heads * call.head_dim;
        let (from, to) = (first * width, (first + count) * width);
        self.row(call, &queries[from..to], count, history, &mut out[from..to]);
        first + count
    }

    fn row(
        &self,
        call: &AttentionCall<'_>,
        queries: &[f32],
        count: usize,
        history: &History,
        out: &mut [f32],
    ) {
        let shape = (call.heads, call.head_dim);
        let source = Source::by_token(queries, shape);
        let queries = Queries::new(self.rounding(), source, shape, count);
        let walk = (self.design.walk)(Shape {
            queries: count,
            keys: history.len(),
            causal: call.causal,
            dense: matches!(call.kv, Kv::Dense { .. }),
        });
        emulated::attend(&self.cpu, walk, &queries, history, call.causal, out);
    }

    fn rounding(&self) -> Rounding {
        match self.dtype {
            Dtype::F16 => Rounding::F16,
            Dtype::Bf16 => Rounding::Bf16,
            Dtype::F32 => Rounding::F32,
        }
    }
}

impl AttentionBackend for EmulatedBackend {
    fn name(&self) -> &str {
        self.design.name.as_str()
    }

    /// What its row in the capability table says, then what no kernel here can.
    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        let mut objections = declared(self.design, query);
        let here = plain_objections(query);
        objections.extend(
            here.into_iter()
                .filter(|o| !objections.contains(o))
                .collect::<Vec<_>>(),
        );
        objections
    }

    fn for_query(&self, query: &AttentionQuery) -> Option<Arc<dyn AttentionBackend>> {
        Some(Arc::new(Self::new(
            self.cpu.clone(),
            self.design,
            query.dtype,
        )))
    }

    /// Weights, where wanted, are [`Naive`]'s: the GPU's kernels give none.
    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        let mut out = self.compute(call)?;
        self.rounding().round(&mut out);
        let output = Tensor::from_vec(out, call.queries.shape(), &Device::Cpu)?;
        let weights = match call.weights {
            true => Naive::new().attend(call)?.weights,
            false => None,
        };
        Ok(Attended { output, weights })
    }
}

/// What stands against a query in the table. A query does not say whose rules it is asked under, so the
/// rule set that objects least counts: the other one's refusals come from the selector, which knows. No
/// GPU is asked of a CPU.
fn declared(design: &Design, query: &AttentionQuery) -> Vec<Objection> {
    let gpu = Gpu {
        suits_aiter: true,
        capability: None,
    };
    let of_encoder = [AttentionType::Encoder, AttentionType::EncoderOnly];
    let served = design.encoder && of_encoder.contains(&query.attn_type);
    RuleSet::ALL
        .into_iter()
        .rev()
        .filter_map(|rules| {
            let row = capability::row(rules, Platform::Rocm, design.name)?;
            let mut objections = row.objections(rules, gpu, query);
            objections.retain(|o| !(served && matches!(o, Objection::AttentionType(_))));
            Some(objections)
        })
        .min_by_key(Vec::len)
        .unwrap_or_else(|| vec![Objection::ImportError])
}

/// A matrix as plain rows of f32.
fn plain(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.to_device(&Device::Cpu)?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1()?)
}
