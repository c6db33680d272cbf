//! What each of vLLM's backends declares it can do: two tables of data, one for each rule set,
//! and the one function that compares a row with a query.
//!
//! The rows of multi-head latent attention are there for vLLM's own test cases only; Whisper
//! never asks for them. `FLASH_ATTN` is taken to be a build without versions 3 and 4.

use super::names::BackendName;
use super::objections::Objection;
use super::query::{AttentionQuery, AttentionType, Dtype, Platform};
use super::rule_set::RuleSet;

/// Which head widths a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSizes {
    /// Every width.
    Any,
    /// These.
    OneOf(&'static [usize]),
    /// This and above.
    AtLeast(usize),
    /// Multiples of the first, up to the second.
    MultipleUpTo(usize, usize),
}

/// Which names of cache types a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvCacheDtypes {
    /// These.
    OneOf(&'static [&'static str]),
    /// All that begin so.
    Prefix(&'static str),
}

/// Which GPUs a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// All.
    Any,
    /// Those that AITER's kernels are for.
    Aiter,
    /// Compute capability 8.0 and above, which every gfx arch has.
    Capability8,
}

/// One row of the table: what a backend declares.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// The backend.
    pub name: BackendName,
    /// Layers it can serve.
    pub attn_types: &'static [AttentionType],
    /// Dtypes it can work in.
    pub dtypes: &'static [Dtype],
    /// Head widths.
    pub head_sizes: HeadSizes,
    /// Blocks of the cache must be a multiple of this.
    pub block_multiple: usize,
    /// The block size it asks for where the user gave none.
    pub preferred_block_size: usize,
    /// Types of the cache.
    pub kv_cache_dtypes: KvCacheDtypes,
    /// GPUs.
    pub gpus: Gpus,
    /// Is latent attention.
    pub mla: bool,
    /// Is sparse attention.
    pub sparse: bool,
    /// Attention sinks.
    pub sink: bool,
    /// Full attention among a multimodal prefix.
    pub mm_prefix: bool,
    /// Non-causal attention in a decoder.
    pub non_causal: bool,
    /// Sliding windows (`2026-08`).
    pub sliding_window: bool,
    /// Results that don't depend on the batch (`2026-08`).
    pub batch_invariant: bool,
    /// A connector that moves the cache elsewhere (`2026-08`).
    pub kv_connector: bool,
}

const DECODER: &[AttentionType] = &[AttentionType::Decoder];
const NO_CROSS: &[AttentionType] = &[
    AttentionType::Decoder,
    AttentionType::Encoder,
    AttentionType::EncoderOnly,
];
const ALL_TYPES: &[AttentionType] = &AttentionType::ALL;
const HALF: &[Dtype] = &[Dtype::F16, Dtype::Bf16];
const ALL_DTYPES: &[Dtype] = &[Dtype::F16, Dtype::Bf16, Dtype::F32];
const KV_PLAIN: KvCacheDtypes = KvCacheDtypes::OneOf(&["auto", "float16", "bfloat16"]);
const KV_FP8: KvCacheDtypes =
    KvCacheDtypes::OneOf(&["auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"]);
const KV_FP8_E4M3: KvCacheDtypes =
    KvCacheDtypes::OneOf(&["auto", "float16", "bfloat16", "fp8", "fp8_e4m3"]);
#[rustfmt::skip]
const KV_PER_TOKEN: KvCacheDtypes = KvCacheDtypes::OneOf(&[
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2",
    "int4_per_token_head", "int8_per_token_head", "fp8_per_token_head",
]);

/// What vLLM's base class declares.
const BASE: Capability = Capability {
    name: BackendName::ROCM_ATTN,
    attn_types: DECODER,
    dtypes: HALF,
    head_sizes: HeadSizes::Any,
    block_multiple: 1,
    preferred_block_size: 16,
    kv_cache_dtypes: KV_PLAIN,
    gpus: Gpus::Any,
    mla: false,
    sparse: false,
    sink: false,
    mm_prefix: false,
    non_causal: false,
    sliding_window: false,
    batch_invariant: false,
    kv_connector: true,
};

/// `2026-03`. Its selector doesn't look at the last three columns.
const MARCH: [Capability; 10] = [
    Capability {
        name: BackendName::ROCM_ATTN,
        attn_types: NO_CROSS,
        dtypes: ALL_DTYPES,
        head_sizes: HeadSizes::OneOf(&[32, 64, 80, 96, 128, 160, 192, 224, 256]),
        block_multiple: 16,
        kv_cache_dtypes: KV_FP8,
        mm_prefix: true,
        sliding_window: true,
        kv_connector: false,
        ..BASE
    },
    Capability {
        name: BackendName::ROCM_AITER_FA,
        head_sizes: HeadSizes::OneOf(&[64, 128, 256]),
        block_multiple: 16,
        kv_cache_dtypes: KV_FP8,
        gpus: Gpus::Aiter,
        sliding_window: true,
        ..BASE
    },
    Capability {
        name: BackendName::ROCM_AITER_UNIFIED_ATTN,
        attn_types: ALL_TYPES,
        dtypes: ALL_DTYPES,
        head_sizes: HeadSizes::AtLeast(32),
        block_multiple: 16,
        preferred_block_size: 64,
        kv_cache_dtypes: KV_FP8,
        sink: true,
        mm_prefix: true,
        sliding_window: true,
        kv_connector: false,
        ..BASE
    },
    Capability {
        name: BackendName::TRITON_ATTN,
        attn_types: ALL_TYPES,
        dtypes: ALL_DTYPES,
        head_sizes: HeadSizes::AtLeast(32),
        block_multiple: 16,
        kv_cache_dtypes: KV_FP8,
        sink: true,
        mm_prefix: true,
        sliding_window: true,
        batch_invariant: true,
        ..BASE
    },
    Capability {
        name: BackendName::FLEX_ATTENTION,
        attn_types: &[AttentionType::Decoder, AttentionType::EncoderOnly],
        dtypes: ALL_DTYPES,
        mm_prefix: true,
        sliding_window: true,
        batch_invariant: true,
        ..BASE
    },
    Capability {
        name: BackendName::FLASH_ATTN,
        attn_types: ALL_TYPES,
        head_sizes: HeadSizes::MultipleUpTo(8, 256),
        block_multiple: 16,
        gpus: Gpus::Capability8,
        non_causal: true,
        sliding_window: true,
        batch_invariant: true,
        ..BASE
    },
    TRITON_MLA,
    AITER_MLA,
    AITER_TRITON_MLA,
    AITER_MLA_SPARSE,
];

/// `2026-08`, in the order of the auto list, then what is only ever asked for.
const AUGUST: [Capability; 11] = [
    Capability {
        non_causal: true,
        ..MARCH[0]
    },
    Capability {
        sink: true,
        non_causal: true,
        ..MARCH[1]
    },
    Capability {
        dtypes: HALF,
        ..MARCH[2]
    },
    Capability {
        kv_cache_dtypes: KV_PER_TOKEN,
        non_causal: true,
        ..MARCH[3]
    },
    Capability {
        name: BackendName::TURBOQUANT,
        head_sizes: HeadSizes::AtLeast(1),
        block_multiple: 16,
        kv_cache_dtypes: KvCacheDtypes::Prefix("turboquant_"),
        ..BASE
    },
    Capability {
        block_multiple: 16,
        non_causal: true,
        ..MARCH[4]
    },
    MARCH[5],
    TRITON_MLA,
    AITER_MLA,
    AITER_TRITON_MLA,
    AITER_MLA_SPARSE,
];

const TRITON_MLA: Capability = Capability {
    name: BackendName::TRITON_MLA,
    block_multiple: 16,
    kv_cache_dtypes: KV_FP8_E4M3,
    mla: true,
    batch_invariant: true,
    ..BASE
};

const AITER_MLA: Capability = Capability {
    name: BackendName::ROCM_AITER_MLA,
    kv_cache_dtypes: KV_FP8,
    mla: true,
    ..BASE
};

const AITER_TRITON_MLA: Capability = Capability {
    name: BackendName::ROCM_AITER_TRITON_MLA,
    ..AITER_MLA
};

const AITER_MLA_SPARSE: Capability = Capability {
    name: BackendName::ROCM_AITER_MLA_SPARSE,
    head_sizes: HeadSizes::OneOf(&[576]),
    mla: true,
    sparse: true,
    ..BASE
};

/// CUDA only: on ROCm its code cannot be imported.
const FLASHINFER: Capability = Capability {
    name: BackendName::FLASHINFER,
    head_sizes: HeadSizes::OneOf(&[64, 128, 256]),
    block_multiple: 16,
    kv_cache_dtypes: KV_FP8,
    sliding_window: true,
    ..BASE
};

static TABLE_MARCH: [Capability; 10] = MARCH;
static TABLE_AUGUST: [Capability; 11] = AUGUST;
static ROW_FLASHINFER: Capability = FLASHINFER;

/// The table of a rule set.
#[must_use]
pub fn table(rules: RuleSet) -> &'static [Capability] {
    match rules {
        RuleSet::March2026 => &TABLE_MARCH,
        RuleSet::August2026 => &TABLE_AUGUST,
    }
}

/// The row of a backend, or `None` where its code cannot be imported on the platform.
/// Members of the enum that are in no table count as that too.
#[must_use]
pub fn row(rules: RuleSet, platform: Platform, name: BackendName) -> Option<&'static Capability> {
    match platform {
        Platform::Cuda if name == BackendName::FLASHINFER => Some(&ROW_FLASHINFER),
        Platform::Cuda if name.as_str().starts_with("ROCM_") => None,
        _ => table(rules).iter().find(|row| row.name == name),
    }
}

/// What the GPU is to the rules, read once for a query.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gpu {
    /// Whether AITER's kernels are for it.
    pub suits_aiter: bool,
    /// Compute capability, where known.
    pub capability: Option<(u32, u32)>,
}

impl Capability {
    /// Everything that stands against serving the query, in vLLM's order.
    #[must_use]
    pub fn objections(&self, rules: RuleSet, gpu: Gpu, query: &AttentionQuery) -> Vec<Objection> {
        let f = &query.flags;
        let august = rules == RuleSet::August2026;
        let type_ok = self.attn_types.contains(&query.attn_type);
        // Conditions and what they mean, in the order in which vLLM tests them.
        let tests = [
            (!self.takes_head_size(query.head_size), Objection::HeadSize),
            (!self.dtypes.contains(&query.dtype), Objection::Dtype),
            (
                !self.takes_kv_cache_dtype(&query.kv_cache_dtype),
                Objection::KvCacheDtype,
            ),
            (
                !self.takes_block_size(query.block_size),
                Objection::BlockSize,
            ),
            (f.mm_prefix && !self.mm_prefix, Objection::MmPrefix),
            (f.mla && !self.mla, Objection::Mla),
            (!f.mla && self.mla, Objection::NonMla),
            (f.sink && !self.sink, Objection::Sinks),
            (f.sparse && !self.sparse, Objection::Sparse),
            (!f.sparse && self.sparse, Objection::NonSparse),
            // No backend of the tables takes them.
            (f.per_head_quant_scales, Objection::PerHeadQuantScales),
            (!self.takes_gpu(gpu), Objection::ComputeCapability),
            (!type_ok, Objection::AttentionType(query.attn_type)),
            (
                august && f.sliding_window && !self.sliding_window,
                Objection::SlidingWindow,
            ),
            (f.non_causal && !self.non_causal, Objection::NonCausal),
            (
                august && f.non_causal && f.mla && f.dcp,
                Objection::NonCausalMlaDcp,
            ),
            (
                august && f.batch_invariant && !self.batch_invariant,
                Objection::BatchInvariance,
            ),
            (
                august && f.kv_connector && !self.kv_connector,
                Objection::KvConnector,
            ),
            (august && f.pcp, Objection::Pcp),
            (
                august && f.adaptive_verification,
                Objection::AdaptiveVerification,
            ),
        ];
        let mut objections: Vec<Objection> = tests
            .into_iter()
            .filter_map(|(fails, objection)| fails.then_some(objection))
            .collect();
        objections.extend(self.combination(rules, query).map(Objection::other));
        objections
    }

    fn takes_head_size(&self, head_size: usize) -> bool {
        match self.head_sizes {
            HeadSizes::Any => true,
            HeadSizes::OneOf(sizes) => sizes.contains(&head_size),
            HeadSizes::AtLeast(least) => head_size >= least,
            HeadSizes::MultipleUpTo(of, most) => head_size.is_multiple_of(of) && head_size <= most,
        }
    }

    fn takes_kv_cache_dtype(&self, name: &str) -> bool {
        match self.kv_cache_dtypes {
            KvCacheDtypes::OneOf(names) => names.contains(&name),
            KvCacheDtypes::Prefix(prefix) => name.starts_with(prefix),
        }
    }

    fn takes_block_size(&self, block_size: Option<usize>) -> bool {
        block_size.is_none_or(|size| size.is_multiple_of(self.block_multiple))
    }

    fn takes_gpu(&self, gpu: Gpu) -> bool {
        match self.gpus {
            Gpus::Any => true,
            Gpus::Aiter => gpu.suits_aiter,
            Gpus::Capability8 => gpu.capability.is_none_or(|(major, _)| major >= 8),
        }
    }

    /// What only `FLASH_ATTN` adds, and only under `2026-08`: the first of two.
    fn combination(&self, rules: RuleSet, query: &AttentionQuery) -> Option<&'static str> {
        if self.name != BackendName::FLASH_ATTN || rules == RuleSet::March2026 {
            return None;
        }
        if is_quantized(&query.kv_cache_dtype) {
            return Some(FP8_NEEDS_FA3);
        }
        query.flags.mm_prefix.then_some(MM_PREFIX_NEEDS_FA4)
    }
}

/// `FLASH_ATTN`'s own words about a quantized cache.
pub const FP8_NEEDS_FA3: &str = "FP8 KV cache requires FA3 on SM90 or FA4 on SM100";
/// `FLASH_ATTN`'s own words about multimodal prefixes.
pub const MM_PREFIX_NEEDS_FA4: &str = "mm_prefix (PrefixLM bidirectional attention) requires \
     FlashAttention v4, which does not resolve for this head_size";

fn is_quantized(kv_cache_dtype: &str) -> bool {
    kv_cache_dtype.starts_with("fp8")
        || kv_cache_dtype.ends_with("per_token_head")
        || kv_cache_dtype == "nvfp4"
}
