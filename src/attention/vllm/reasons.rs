//! What the rules know and vLLM doesn't say: why a backend of the platform is not even on the list,
//! which package or variable is missing, and what a choice will fail of later.
//!
//! In: the same plain values as the selector's. Out: texts for people. Nothing here decides.

use super::arch::Arch;
use super::capability::{self, Capability};
use super::env;
use super::names::BackendName;
use super::query::{AttentionQuery, Machine, ModelKind, Platform};
use super::rule_set::RuleSet;
use super::select::{How, Refusal, Selection};

/// What has to be so before a kernel of AITER's is listed, beside the package and the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AiterNeeds {
    /// Nothing more; on RDNA 4 under `2026-08`, the switch.
    Package,
    /// `VLLM_ROCM_USE_AITER`.
    Switch,
    /// And `VLLM_ROCM_USE_AITER_MHA` not switched off.
    MultiHead,
}

/// Everything that keeps a kernel of AITER's off the list.
#[must_use]
pub fn against_aiter(rules: RuleSet, machine: &Machine, needs: AiterNeeds) -> Vec<String> {
    const SWITCH: &str = "VLLM_ROCM_USE_AITER";
    const MULTI_HEAD: &str = "VLLM_ROCM_USE_AITER_MHA";
    let arch = Arch(machine.arch.as_deref().unwrap_or(""));
    let rdna = needs == AiterNeeds::Package && rules == RuleSet::August2026 && arch.on_rdna4();
    let mut against = Vec::new();
    if !machine.has_module("aiter") {
        against.push(missing("aiter"));
    }
    if !rdna && !arch.suits_aiter(rules) {
        against.push(format!("AITER's kernels are not for {}", arch.0));
    }
    if (needs != AiterNeeds::Package || rdna) && !env::flag(machine, SWITCH, false) {
        against.push(match machine.env(SWITCH) {
            None => format!("{SWITCH} is not set (1 switches it on)"),
            Some(text) => format!("{SWITCH}={text} counts as off (1 or true switches it on)"),
        });
    }
    if needs == AiterNeeds::MultiHead && !env::flag(machine, MULTI_HEAD, true) {
        let text = machine.env(MULTI_HEAD).unwrap_or_default();
        against.push(format!("{MULTI_HEAD}={text} switches it off"));
    }
    against
}

/// The words for a package that is not there.
#[must_use]
pub fn missing(package: &str) -> String {
    format!("the package {package} is not installed")
}

/// The words for a variable that has to have one text, where it has another.
#[must_use]
pub fn not_exactly(machine: &Machine, name: &str, text: &str) -> Option<String> {
    match machine.env(name) {
        Some(set) if set == text => None,
        Some(set) => Some(format!("{name}={set} does not count (it must be {text})")),
        None => Some(format!("{name} is not set (it must be {text})")),
    }
}

/// For every backend of the ROCm platform that the selector did not look at, why not. Empty on other
/// platforms, and where the machine itself is refused.
#[must_use]
pub fn unlisted(
    rules: RuleSet,
    machine: &Machine,
    model: ModelKind,
    query: &AttentionQuery,
    answer: &Result<Selection, Refusal>,
    is_encoder: bool,
) -> Vec<(BackendName, String)> {
    if machine.platform != Platform::Rocm {
        return Vec::new();
    }
    let (looked_at, asked): (Vec<BackendName>, _) = match answer {
        Ok(s) if s.how == How::Explicit => (vec![s.chosen], Some(s.chosen)),
        Ok(s) => (s.candidates.clone(), None),
        Err(Refusal::Explicit { backend, .. } | Refusal::NotForEncoder { backend, .. }) => {
            (vec![*backend], Some(*backend))
        }
        Err(Refusal::NoneValid { rejected, .. }) => (rejected.iter().map(|r| r.0).collect(), None),
        Err(_) => return Vec::new(),
    };
    let rows = capability::table(rules).iter();
    let others = rows.filter(|row| !looked_at.contains(&row.name));
    let why = |row: &Capability| match asked {
        Some(asked) => format!("not looked at: {asked} was asked for"),
        None if is_encoder => not_for_encoder(row.name),
        None => not_listed(rules, machine, model, query, row),
    };
    others.map(|row| (row.name, why(row))).collect()
}

fn not_for_encoder(name: BackendName) -> String {
    if BackendName::OF_ENCODER.contains(&name) {
        return format!("only where --attention-backend-for encoder={name} asks for it");
    }
    "unknown to the encoder's own chooser".to_owned()
}

/// Why auto selection's list leaves a backend out for a decoder layer.
fn not_listed(
    rules: RuleSet,
    machine: &Machine,
    model: ModelKind,
    query: &AttentionQuery,
    row: &Capability,
) -> String {
    let flags = &query.flags;
    if flags.mla || flags.sparse {
        return "not listed for latent or sparse attention".to_owned();
    }
    if row.mla || row.sparse {
        return "for latent attention (MLA), which this model does not have".to_owned();
    }
    let against = |needs| against_aiter(rules, machine, needs).join(", ");
    match row.name {
        BackendName::ROCM_ATTN if model == ModelKind::EncoderDecoder => format!(
            "rule set {rules} drops it for models with cross-attention: the layout of its cache \
             is not the encoder's"
        ),
        BackendName::ROCM_ATTN => "not listed where a KV connector is in use".to_owned(),
        BackendName::ROCM_AITER_FA => against(AiterNeeds::MultiHead),
        BackendName::ROCM_AITER_UNIFIED_ATTN => against(AiterNeeds::Package),
        name => format!("never chosen by itself on ROCm: only where {name} is asked for"),
    }
}

/// What a choice that vLLM accepts dies of in its constructor: the rules ask for no package where a
/// backend is asked for by name.
#[must_use]
pub fn fails_later(machine: &Machine, chosen: BackendName) -> Option<String> {
    let package = match chosen {
        BackendName::ROCM_AITER_FA | BackendName::ROCM_AITER_UNIFIED_ATTN => "aiter",
        BackendName::FLASH_ATTN => "flash_attn",
        _ => return None,
    };
    let needed = machine.platform == Platform::Rocm && !machine.has_module(package);
    needed.then(|| {
        format!(
            "vLLM accepts it and then ends with ModuleNotFoundError: {}",
            missing(package)
        )
    })
}
