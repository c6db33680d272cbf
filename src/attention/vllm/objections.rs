//! Why a backend cannot serve a query. Each prints as vLLM words it.

use std::borrow::Cow;
use std::fmt;

use super::query::AttentionType;

/// One reason, declared in the order in which vLLM collects them. vLLM never stops at the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The head's width.
    HeadSize,
    /// The dtype.
    Dtype,
    /// The type of the cache.
    KvCacheDtype,
    /// The cache's block size.
    BlockSize,
    /// Full attention among a multimodal prefix.
    MmPrefix,
    /// Latent attention was asked of a backend without it.
    Mla,
    /// Plain attention was asked of a latent one.
    NonMla,
    /// Attention sinks.
    Sinks,
    /// Sparse attention was asked of a dense backend.
    Sparse,
    /// Dense attention was asked of a sparse one.
    NonSparse,
    /// Quantization scales per head.
    PerHeadQuantScales,
    /// The GPU.
    ComputeCapability,
    /// The layer's type.
    AttentionType(AttentionType),
    /// A sliding window.
    SlidingWindow,
    /// Non-causal attention in a decoder.
    NonCausal,
    /// Non-causal latent attention with decode context parallelism.
    NonCausalMlaDcp,
    /// Results that don't depend on the batch.
    BatchInvariance,
    /// A connector that moves the cache elsewhere.
    KvConnector,
    /// Prefill context parallelism.
    Pcp,
    /// Query lengths that differ between device and CPU.
    AdaptiveVerification,
    /// A reason in the backend's own words; last of its list.
    Other(Cow<'static, str>),
    /// The backend's code cannot be imported; alone in its list.
    ImportError,
}

impl Objection {
    /// A reason in the backend's own words.
    pub fn other(text: impl Into<Cow<'static, str>>) -> Self {
        Objection::Other(text.into())
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Objection::HeadSize => "head_size not supported",
            Objection::Dtype => "dtype not supported",
            Objection::KvCacheDtype => "kv_cache_dtype not supported",
            Objection::BlockSize => "block_size not supported",
            Objection::MmPrefix => "partial multimodal token full attention not supported",
            Objection::Mla => "MLA not supported",
            Objection::NonMla => "non-MLA not supported",
            Objection::Sinks => "attention sinks not supported",
            Objection::Sparse => "sparse not supported",
            Objection::NonSparse => "non-sparse not supported",
            Objection::PerHeadQuantScales => "per-head quant scales not supported",
            Objection::ComputeCapability => "compute capability not supported",
            Objection::AttentionType(t) => return write!(f, "attention type {t} not supported"),
            Objection::SlidingWindow => "sliding window not supported",
            Objection::NonCausal => "non-causal attention not supported",
            Objection::NonCausalMlaDcp => "non-causal MLA attention with DCP not supported",
            Objection::BatchInvariance => "batch invariance not supported",
            Objection::KvConnector => "KV connector not supported",
            Objection::Pcp => "PCP not supported",
            Objection::AdaptiveVerification => {
                "device-cpu query lens mismatch not supported, \
                 this is needed for adaptive verification"
            }
            Objection::Other(text) => text,
            Objection::ImportError => "ImportError",
        };
        f.write_str(text)
    }
}

/// The list as Python prints it: `['a', 'b']`. Explicit requests are refused with it.
#[must_use]
pub fn quoted(objections: &[Objection]) -> String {
    let items: Vec<String> = objections.iter().map(|o| format!("'{o}'")).collect();
    format!("[{}]", items.join(", "))
}

/// The list as auto selection prints it: `[a, b]`.
#[must_use]
pub fn bare(objections: &[Objection]) -> String {
    let items: Vec<String> = objections.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(", "))
}
