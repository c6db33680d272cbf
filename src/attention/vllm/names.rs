//! Names: vLLM's backend names, the kinds of layer, and what a user asked for.
//!
//! In: text as typed. Out: values that are known to be valid, or an error in vLLM's words that
//! lists the valid ones. Nothing here decides anything.

use std::fmt;

use super::query::{AttentionQuery, AttentionType, Role};
use super::rule_set::RuleSet;
use crate::error::{Error, Result};

/// A member of vLLM's `AttentionBackendEnum`. Prints as the bare name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName(&'static str);

macro_rules! backend_names {
    ($($name:ident),* $(,)?) => {
        impl BackendName {
            $(
                #[doc = concat!("vLLM's `", stringify!($name), "`.")]
                pub const $name: BackendName = BackendName(stringify!($name));
            )*
        }
    };
}

backend_names!(
    CPU_ATTN,
    FLASHINFER,
    FLASH_ATTN,
    FLEX_ATTENTION,
    ROCM_AITER_FA,
    ROCM_AITER_MLA,
    ROCM_AITER_MLA_SPARSE,
    ROCM_AITER_TRITON_MLA,
    ROCM_AITER_UNIFIED_ATTN,
    ROCM_ATTN,
    TORCH_SDPA,
    TRITON_ATTN,
    TRITON_MLA,
    TURBOQUANT,
);

impl BackendName {
    /// What the encoder's own chooser can be asked for.
    pub const OF_ENCODER: &[BackendName] = &[
        BackendName::FLASH_ATTN,
        BackendName::ROCM_AITER_FA,
        BackendName::TRITON_ATTN,
        BackendName::TORCH_SDPA,
    ];

    /// The member of that name in any case, if the rule set has one.
    #[must_use]
    pub fn of(rules: RuleSet, name: &str) -> Option<Self> {
        rules
            .members()
            .iter()
            .find(|m| m.eq_ignore_ascii_case(name))
            .map(|m| BackendName(m))
    }

    /// The bare name, as in `ROCM_ATTN`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// A backend that was asked for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// One that vLLM knows too.
    Vllm(BackendName),
    /// One of this engine or of its caller, in upper case.
    Own(String),
}

impl Requested {
    /// The name in upper case.
    #[cfg(test)]
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Requested::Vllm(name) => name.as_str(),
            Requested::Own(name) => name,
        }
    }

    /// Reads a name in any case; the empty text, `None` and `auto` (in any case) ask for nothing.
    /// `own` are the names of the kernels at hand.
    ///
    /// # Errors
    /// [`Error::Option`] in vLLM's words, then the names that only this engine knows.
    pub fn parse(rules: RuleSet, text: &str, own: &[&str]) -> Result<Option<Self>> {
        if text.is_empty() || text == "None" || text.eq_ignore_ascii_case("auto") {
            return Ok(None);
        }
        if let Some(name) = BackendName::of(rules, text) {
            return Ok(Some(Requested::Vllm(name)));
        }
        if let Some(name) = own.iter().find(|n| n.eq_ignore_ascii_case(text)) {
            return Ok(Some(Requested::Own(name.to_uppercase())));
        }
        Err(Error::Option {
            option: "attention-backend",
            reason: unknown(rules, text, own),
        })
    }
}

fn unknown(rules: RuleSet, text: &str, own: &[&str]) -> String {
    let name = text.to_uppercase();
    let members = rules.members();
    let mut reason = format!(
        "Unknown attention backend: '{name}'. Valid options are: {}",
        members.join(", ")
    );
    let extra: Vec<&str> = own
        .iter()
        .copied()
        .filter(|n| !members.contains(n))
        .collect();
    if !extra.is_empty() {
        reason += &format!("\nThis engine adds: {}", extra.join(", "));
    }
    reason
}

/// The kinds of layer that can be given a backend of their own: vLLM's keys of `backend_per_kind`,
/// and `encoder` for what vLLM calls `--mm-encoder-attn-backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The audio encoder's self-attention (its own chooser in vLLM).
    Encoder,
    /// Decoder self-attention without a window.
    FullAttention,
    /// Decoder cross-attention.
    CrossAttention,
    /// Layers of encoder-only models (not Whisper).
    EncoderOnlyAttention,
    /// Decoder self-attention with a sliding window.
    SlidingWindow,
    /// Multi-head latent attention.
    MlaAttention,
    /// Multi-head latent attention with a sliding window.
    SlidingWindowMla,
}

impl Kind {
    /// All kinds, those of Whisper first.
    pub const ALL: [Kind; 7] = [
        Kind::Encoder,
        Kind::FullAttention,
        Kind::CrossAttention,
        Kind::EncoderOnlyAttention,
        Kind::SlidingWindow,
        Kind::MlaAttention,
        Kind::SlidingWindowMla,
    ];

    /// vLLM's key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Encoder => "encoder",
            Kind::FullAttention => "full_attention",
            Kind::CrossAttention => "cross_attention",
            Kind::EncoderOnlyAttention => "encoder_only_attention",
            Kind::SlidingWindow => "sliding_window",
            Kind::MlaAttention => "mla_attention",
            Kind::SlidingWindowMla => "sliding_window_mla",
        }
    }

    /// Reads a kind in any case.
    ///
    /// # Errors
    /// [`Error::Option`] listing the kinds.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|k| k.name()).collect();
                Error::Option {
                    option: "attention-backend-for",
                    reason: format!(
                        "unknown kind {text:?}: the valid ones are {}",
                        names.join(", ")
                    ),
                }
            })
    }

    /// The kind of the layer that the query is about.
    #[must_use]
    pub fn of(query: &AttentionQuery) -> Self {
        let flags = &query.flags;
        match (query.attn_type, flags.mla, flags.sliding_window) {
            (AttentionType::EncoderOnly, _, _) => Kind::EncoderOnlyAttention,
            (AttentionType::EncoderDecoder, _, _) => Kind::CrossAttention,
            (_, true, true) => Kind::SlidingWindowMla,
            (_, true, false) => Kind::MlaAttention,
            (_, false, true) => Kind::SlidingWindow,
            (_, false, false) => Kind::FullAttention,
        }
    }
}

/// What was asked for: a backend for all layers, and overrides for some kinds of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestedBackends {
    all: Option<Requested>,
    per_kind: Vec<(Kind, Option<Requested>)>,
}

impl RequestedBackends {
    /// Reads `--attention-backend` (if given) and every `--attention-backend-for KIND=NAME`.
    /// `own` are the names of the kernels at hand.
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown name or kind, for a kind given twice, for text without
    /// `=`, and for a kind other than `encoder` under `2026-03`, which had no per-kind choice.
    pub fn parse(
        rules: RuleSet,
        all: Option<&str>,
        per_kind: &[String],
        own: &[&str],
    ) -> Result<Self> {
        let bad = |reason| {
            Err(Error::Option {
                option: "attention-backend-for",
                reason,
            })
        };
        let all = all.map_or(Ok(None), |text| Requested::parse(rules, text, own))?;
        let mut requests = RequestedBackends {
            all,
            per_kind: Vec::new(),
        };
        for text in per_kind {
            let Some((kind, name)) = text.split_once('=') else {
                return bad(format!("{text:?} is not KIND=NAME"));
            };
            let kind = Kind::parse(kind)?;
            if rules == RuleSet::March2026 && kind != Kind::Encoder {
                return bad(format!(
                    "{} cannot be chosen apart under 2026-03",
                    kind.name()
                ));
            }
            if requests.per_kind.iter().any(|(k, _)| *k == kind) {
                return bad(format!("{} is given twice", kind.name()));
            }
            requests
                .per_kind
                .push((kind, Requested::parse(rules, name, own)?));
        }
        Ok(requests)
    }

    /// The request for a decoder layer: its kind's own, else the one for all.
    #[must_use]
    pub fn for_layer(&self, query: &AttentionQuery) -> Option<&Requested> {
        self.override_for(Kind::of(query))
            .unwrap_or(self.all.as_ref())
    }

    /// The request for the encoder alone. vLLM's chooser heeds no other.
    #[must_use]
    pub fn for_encoder(&self) -> Option<&Requested> {
        self.override_for(Kind::Encoder).flatten()
    }

    /// The request for a role on this engine's own platform, where the one for all layers
    /// means the encoder too.
    #[must_use]
    pub fn for_role(&self, role: Role, query: &AttentionQuery) -> Option<&Requested> {
        match role {
            Role::Encoder => self
                .override_for(Kind::Encoder)
                .unwrap_or(self.all.as_ref()),
            Role::DecoderSelf | Role::DecoderCross => self.for_layer(query),
        }
    }

    fn override_for(&self, kind: Kind) -> Option<Option<&Requested>> {
        self.per_kind
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, request)| request.as_ref())
    }
}
