//! What one layer asks of a backend, and the machine it would run on: the selector's inputs.
//!
//! All of it are plain values. Nothing here looks at the machine the program runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::rule_set::RuleSet;
use crate::error::{Error, Result};

/// The three places where Whisper attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The encoder's self-attention.
    Encoder,
    /// The decoder's self-attention.
    DecoderSelf,
    /// The decoder's attention to the encoder's output.
    DecoderCross,
}

impl Role {
    /// All three, in the order in which a model is built.
    pub const ALL: [Role; 3] = [Role::Encoder, Role::DecoderSelf, Role::DecoderCross];

    /// The type that vLLM gives the layer.
    #[must_use]
    pub fn attn_type(self) -> AttentionType {
        match self {
            Role::Encoder => AttentionType::Encoder,
            Role::DecoderSelf => AttentionType::Decoder,
            Role::DecoderCross => AttentionType::EncoderDecoder,
        }
    }

    /// A short key for JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Role::Encoder => "encoder",
            Role::DecoderSelf => "decoder_self",
            Role::DecoderCross => "decoder_cross",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Encoder => "encoder self-attention",
            Role::DecoderSelf => "decoder self-attention",
            Role::DecoderCross => "decoder cross-attention",
        })
    }
}

/// vLLM's `AttentionType`. Prints as Python 3.11 and later print it: `AttentionType.DECODER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionType {
    /// Decoder self-attention.
    Decoder,
    /// Encoder self-attention of an encoder-decoder model.
    Encoder,
    /// Self-attention of an encoder-only model.
    EncoderOnly,
    /// Queries of a decoder, keys and values of an encoder.
    EncoderDecoder,
}

impl AttentionType {
    /// All four, in vLLM's order.
    pub const ALL: [AttentionType; 4] = [
        AttentionType::Decoder,
        AttentionType::Encoder,
        AttentionType::EncoderOnly,
        AttentionType::EncoderDecoder,
    ];

    /// The enum's value, as in `encoder_decoder`.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            AttentionType::Decoder => "decoder",
            AttentionType::Encoder => "encoder",
            AttentionType::EncoderOnly => "encoder_only",
            AttentionType::EncoderDecoder => "encoder_decoder",
        }
    }
}

impl fmt::Display for AttentionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttentionType::Decoder => "AttentionType.DECODER",
            AttentionType::Encoder => "AttentionType.ENCODER",
            AttentionType::EncoderOnly => "AttentionType.ENCODER_ONLY",
            AttentionType::EncoderDecoder => "AttentionType.ENCODER_DECODER",
        })
    }
}

/// The dtype that attention is asked to work in. Prints as torch does: `torch.float16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single precision.
    F32,
}

impl Dtype {
    /// Reads `float16`, `f16`, `half`, `bfloat16`, `bf16`, `float32`, `f32` or `float`.
    ///
    /// # Errors
    /// [`Error::Option`] listing the names.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "float16" | "f16" | "fp16" | "half" => Ok(Dtype::F16),
            "bfloat16" | "bf16" => Ok(Dtype::Bf16),
            "float32" | "f32" | "fp32" | "float" => Ok(Dtype::F32),
            _ => Err(Error::Option {
                option: "dtype",
                reason: format!("{text:?} is none of float16, bfloat16, float32"),
            }),
        }
    }

    /// torch's name without the prefix, as in `float16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
            Dtype::F32 => "float32",
        }
    }

    /// Whether it takes two bytes.
    #[must_use]
    pub fn is_half(self) -> bool {
        self != Dtype::F32
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "torch.{}", self.name())
    }
}

/// vLLM's `ModelConfig.attn_type`, as far as the rules tell kinds of model apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// With cross-attention, like Whisper.
    EncoderDecoder,
    /// A plain language model.
    Decoder,
    /// An encoder alone.
    EncoderOnly,
    /// Layers of several kinds.
    Hybrid,
}

/// The yes-or-no inputs of vLLM's `AttentionSelectorConfig`. All false for Whisper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// `use_mla`: multi-head latent attention.
    pub mla: bool,
    /// `has_sink`: attention sinks.
    pub sink: bool,
    /// `use_sparse`.
    pub sparse: bool,
    /// `use_mm_prefix`: full attention among a multimodal prefix.
    pub mm_prefix: bool,
    /// `use_per_head_quant_scales`.
    pub per_head_quant_scales: bool,
    /// `use_non_causal`: a setting of the whole model, not what cross-attention sets.
    pub non_causal: bool,
    /// `has_sliding_window`; `2026-03` does not look at it.
    pub sliding_window: bool,
    /// `use_batch_invariant`; `2026-03` does not look at it.
    pub batch_invariant: bool,
    /// `use_kv_connector`; `2026-03` does not look at it.
    pub kv_connector: bool,
    /// `use_adaptive_verification`; `2026-03` does not look at it.
    pub adaptive_verification: bool,
    /// `use_pcp`: prefill context parallelism; `2026-03` does not look at it.
    pub pcp: bool,
    /// `use_dcp`: decode context parallelism; `2026-03` does not look at it.
    pub dcp: bool,
}

/// What one layer asks of a backend: vLLM's `AttentionSelectorConfig`, and whether the
/// attention weights are wanted (word timing), which vLLM never returns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionQuery {
    /// The layer's type.
    pub attn_type: AttentionType,
    /// Width of a head (64 for every Whisper of OpenAI's).
    pub head_size: usize,
    /// What attention is asked to work in.
    pub dtype: Dtype,
    /// vLLM's name of the cache's type: `auto`, `float16`, `fp8`, …
    pub kv_cache_dtype: String,
    /// Tokens in a block of the cache, where the user gave it.
    pub block_size: Option<usize>,
    /// The rest.
    pub flags: Flags,
    /// Whether [`crate::attention::Attended::weights`] will be asked for.
    pub weights: bool,
}

impl AttentionQuery {
    /// A query with nothing out of the ordinary.
    #[must_use]
    pub fn new(attn_type: AttentionType, head_size: usize, dtype: Dtype) -> Self {
        Self {
            attn_type,
            head_size,
            dtype,
            kv_cache_dtype: "auto".to_owned(),
            block_size: None,
            flags: Flags::default(),
            weights: false,
        }
    }

    /// The role of Whisper that asks this; encoder-only layers count as encoder.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.attn_type {
            AttentionType::Decoder => Role::DecoderSelf,
            AttentionType::EncoderDecoder => Role::DecoderCross,
            AttentionType::Encoder | AttentionType::EncoderOnly => Role::Encoder,
        }
    }

    /// The text of vLLM's `AttentionSelectorConfig` in its errors and logs.
    #[must_use]
    pub fn config_text(&self, rules: RuleSet) -> String {
        let flag = |on: bool| if on { "True" } else { "False" };
        let (f, block) = (
            &self.flags,
            self.block_size.map_or("None".into(), |b| b.to_string()),
        );
        let august = rules == RuleSet::August2026;
        let mut fields = vec![
            ("head_size", self.head_size.to_string()),
            ("dtype", self.dtype.to_string()),
            ("kv_cache_dtype", self.kv_cache_dtype.clone()),
            ("block_size", block),
            ("use_mla", flag(f.mla).into()),
            ("has_sink", flag(f.sink).into()),
            ("use_sparse", flag(f.sparse).into()),
            ("use_mm_prefix", flag(f.mm_prefix).into()),
            (
                "use_per_head_quant_scales",
                flag(f.per_head_quant_scales).into(),
            ),
            ("attn_type", self.attn_type.to_string()),
        ];
        if august {
            fields.push(("has_sliding_window", flag(f.sliding_window).into()));
        }
        fields.push(("use_non_causal", flag(f.non_causal).into()));
        if august {
            fields.extend([
                ("use_batch_invariant", flag(f.batch_invariant).into()),
                ("use_kv_connector", flag(f.kv_connector).into()),
                (
                    "use_adaptive_verification",
                    flag(f.adaptive_verification).into(),
                ),
                ("use_pcp", flag(f.pcp).into()),
                ("use_dcp", flag(f.dcp).into()),
            ]);
        }
        let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("AttentionSelectorConfig({})", fields.join(", "))
    }
}

/// What runs the kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Platform {
    /// AMD GPUs.
    Rocm,
    /// NVIDIA GPUs.
    Cuda,
    /// No GPU: where this engine computes.
    #[default]
    Cpu,
}

impl Platform {
    /// vLLM's `device_name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Platform::Rocm => "rocm",
            Platform::Cuda => "cuda",
            Platform::Cpu => "cpu",
        }
    }

    /// Reads a platform's name in any case.
    ///
    /// # Errors
    /// [`Error::Option`] listing the names.
    pub fn parse(text: &str) -> Result<Self> {
        [Platform::Rocm, Platform::Cuda, Platform::Cpu]
            .into_iter()
            .find(|p| p.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::Option {
                option: "platform",
                reason: format!("{text:?} is none of rocm, cuda, cpu"),
            })
    }
}

/// A machine, real or made up: all that the rules may know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What runs the kernels.
    pub platform: Platform,
    /// The first physical GPU's arch: `gfx942:sramecc+:xnack-` or `sm_90`.
    pub arch: Option<String>,
    /// Importable Python modules that the rules ask about: `aiter`, `flash_attn`, …
    pub installed: BTreeSet<String>,
    /// Backends, by name, whose code cannot be imported although the rules know them.
    pub unimportable: BTreeSet<String>,
    /// Environment variables. A missing entry is an unset variable.
    pub env: BTreeMap<String, String>,
}

impl Machine {
    /// Whether a module can be imported: itself, a module inside it, or the package around it
    /// is on the list.
    #[must_use]
    pub fn has_module(&self, module: &str) -> bool {
        let inside = |outer: &str, inner: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.installed
            .iter()
            .any(|m| inside(m, module) || inside(module, m))
    }

    /// A variable's text, if it is set.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }
}
