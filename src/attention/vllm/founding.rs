//! `_get_rocm_attention_config(model_name)` of vLLM's tests, as it was on both dates.
//!
//! For people who test against vLLM. This engine never decides from a name: it asks whether the
//! network has cross-attention.

use super::arch::Arch;
use super::names::BackendName;
use super::rule_set::RuleSet;

/// What the helper finds when it asks the platform about the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformProbe<'a> {
    /// Not a ROCm platform.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a case of the rules that only their tests ask")
    )]
    NotRocm,
    /// ROCm, but the import fails.
    ImportError,
    /// ROCm with this arch.
    Arch(&'a str),
}

/// The helper's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundingConfig {
    /// The backend it appends to the server's arguments, if any.
    pub backend: Option<BackendName>,
    /// What it warns of.
    pub warning: Option<&'static str>,
}

const WARNING_MARCH: &str = "Could not import _ON_MI3XX from rocm platform, falling back to \
     TRITON_ATTN for Whisper.";
const WARNING_AUGUST: &str = "Could not check cdna version from rocm platform; using a compatible \
     fallback attention backend.";

/// The backend that vLLM's test of translation asks its server for.
#[must_use]
pub fn rocm_attention_config(
    rules: RuleSet,
    probe: PlatformProbe<'_>,
    model_name: &str,
) -> FoundingConfig {
    let whisper = model_name.to_lowercase().contains("whisper");
    let answer = |backend| FoundingConfig {
        backend,
        warning: None,
    };
    let march = rules == RuleSet::March2026;
    let arch = match probe {
        PlatformProbe::NotRocm => return answer(None),
        // In March other models were decided before anything was imported.
        _ if march && !whisper => return answer(Some(BackendName::ROCM_AITER_FA)),
        PlatformProbe::ImportError => {
            return FoundingConfig {
                backend: whisper.then_some(BackendName::TRITON_ATTN),
                warning: Some(if march { WARNING_MARCH } else { WARNING_AUGUST }),
            };
        }
        PlatformProbe::Arch(arch) => Arch(arch),
    };
    answer(match (whisper, arch.suits_aiter(rules)) {
        (true, true) => Some(BackendName::ROCM_AITER_UNIFIED_ATTN),
        (true, false) => Some(BackendName::TRITON_ATTN),
        (false, true) => Some(BackendName::ROCM_AITER_FA),
        (false, false) => None,
    })
}
