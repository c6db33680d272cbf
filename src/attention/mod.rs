//! Attention as a plug-in: a trait, the kernels that implement it, and the rules that choose.
//!
//! Three questions are kept apart. *Can it*: a backend lists its [`Objection`]s to a query, and an
//! empty list means yes. *Should it*: the preference of a platform, pure data (vLLM's for GPUs, the
//! order of a [`Registry`] on the CPU). *Was it asked for*: a name that was given is used, or is an
//! error that lists the objections; it is never swapped silently.
//!
//! What comes in are plain values ([`Machine`], [`Request`], [`AttentionQuery`]); what comes out
//! is a [`Plan`] that names a backend for each [`Role`], made once at load. The selector mirrors
//! vLLM's ROCm rules as of two dates ([`RuleSet`]), choices and words alike, so AMD machines are
//! tested on a laptop. There is no global state, no I/O, and no look at the real machine.

pub(crate) mod backends;
mod call;
mod registry;
pub(crate) mod vllm;

pub use backends::AttentionRow;
pub(crate) use backends::plain_objections;
pub(crate) use call::SliceKv;
pub use call::{Attended, AttentionCall, CrossRow, GrowingRow, Kv};
pub use registry::Registry;
pub(crate) use registry::SERVED_BY;
pub use vllm::{
    Answer, AttentionQuery, AttentionType, BackendName, Dtype, Flags, How, Level, LogLine, Machine,
    ModelKind, Objection, Plan, Platform, Refusal, Rejection, Request, Role, RuleSet, Selection,
    plan, select,
};
pub(crate) use vllm::{Kind, answers, block_size, kernel};

use std::sync::Arc;

use crate::error::Result;

/// One way to compute attention. Implement it, put it in a [`Registry`], ask for it by name.
pub trait AttentionBackend: Send + Sync {
    /// The name to ask for it by, in upper case.
    fn name(&self) -> &str;

    /// The kernels that compute it, where it answers to another name than theirs.
    fn kernels(&self) -> &str {
        self.name()
    }

    /// Everything that stands against serving the query, not only the first; empty means it can.
    fn objections(&self, query: &AttentionQuery) -> Vec<Objection>;

    /// The backend to use for a query that it can serve, where that depends on the query (on its
    /// dtype, for one); asked once a role, at load. `None`: this one, as it is.
    fn for_query(&self, _query: &AttentionQuery) -> Option<Arc<dyn AttentionBackend>> {
        None
    }

    /// The kernels of this crate, where it is them: the network then calls them on its own buffers. Other
    /// backends get tensors, and leave this as it is.
    #[doc(hidden)]
    fn in_place(&self) -> Option<&backends::CpuAttention> {
        None
    }

    /// Computes one call. `causal` is an input of every call, and no backend may assume it.
    ///
    /// # Errors
    /// What the tensor library reports, or shapes that don't fit together.
    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended>;
}
