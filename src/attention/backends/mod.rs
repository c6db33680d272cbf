//! The attention backends that compute here.
//!
//! [`CpuAttention`] (`CPU_ATTN`) is what auto takes on the CPU; [`Naive`] (`NAIVE`) is slow, obvious,
//! judges the others and returns attention weights; [`EmulatedBackend`] is every name that vLLM's ROCm rules
//! choose, with the algorithm of its GPU kernel. A backend of your own can start from
//! [`AttentionCall::rows`](super::AttentionCall::rows), which gives each row's queries, keys and values as plain tensors.

mod cpu_attn;
mod emulated;
mod naive;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::cpu_attn::CpuAttention;
pub use self::emulated::EmulatedBackend;
pub use self::naive::Naive;
pub use self::rows::AttentionRow;

use super::{AttentionBackend, AttentionQuery, Objection};
use crate::kernels::Cpu;
use crate::kernels::attention::PackedDtype;

/// The backends of this crate, best first, with the encoder in f32.
#[must_use]
pub fn built_in(cpu: &Cpu) -> Vec<Arc<dyn AttentionBackend>> {
    built_in_with(cpu, PackedDtype::F32)
}

/// The backends of this crate, best first; `encoder` is how precisely `CPU_ATTN` computes
/// encoder self-attention.
#[must_use]
pub fn built_in_with(cpu: &Cpu, encoder: PackedDtype) -> Vec<Arc<dyn AttentionBackend>> {
    let own: [Arc<dyn AttentionBackend>; 2] = [
        Arc::new(CpuAttention::new(cpu.clone(), encoder)),
        Arc::new(Naive::new()),
    ];
    own.into_iter().chain(EmulatedBackend::all(cpu)).collect()
}

/// What plain softmax attention cannot serve, whoever computes it.
pub(crate) fn plain_objections(query: &AttentionQuery) -> Vec<Objection> {
    let flags = &query.flags;
    let kept = ["auto", "float32", "float16", "bfloat16"].contains(&query.kv_cache_dtype.as_str());
    [
        (query.head_size == 0, Objection::HeadSize),
        (!kept, Objection::KvCacheDtype),
        (flags.mm_prefix, Objection::MmPrefix),
        (flags.mla, Objection::Mla),
        (flags.sink, Objection::Sinks),
        (flags.sparse, Objection::Sparse),
        (flags.per_head_quant_scales, Objection::PerHeadQuantScales),
        (flags.sliding_window, Objection::SlidingWindow),
        (flags.kv_connector, Objection::KvConnector),
        (flags.pcp, Objection::Pcp),
    ]
    .into_iter()
    .filter_map(|(holds, objection)| holds.then_some(objection))
    .collect()
}
