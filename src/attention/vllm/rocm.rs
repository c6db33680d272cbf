//! The rules of vLLM's ROCm platform: AITER's gates, and the list that auto selection goes down.

use super::arch::Arch;
use super::env;
use super::names::BackendName;
use super::query::{AttentionQuery, Flags, Machine, ModelKind, Platform};
use super::rule_set::RuleSet;

/// What AITER is allowed to do on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Installed, on a GPU it is for. The environment has no say in this one.
    pub supported: bool,
    /// And switched on.
    pub enabled: bool,
    /// And its multi-head attention not switched off.
    pub mha: bool,
    /// And its latent attention not switched off.
    pub mla: bool,
    /// `2026-08`: installed and switched on, on RDNA 4.
    pub rdna: bool,
}

impl Gates {
    /// Reads the gates off a machine.
    #[must_use]
    pub fn of(rules: RuleSet, machine: &Machine) -> Self {
        let arch = Arch(machine.arch.as_deref().unwrap_or(""));
        let installed = machine.platform == Platform::Rocm && machine.has_module("aiter");
        let asked = env::flag(machine, "VLLM_ROCM_USE_AITER", false);
        let supported = installed && arch.suits_aiter(rules);
        let enabled = supported && asked;
        Self {
            supported,
            enabled,
            mha: enabled && env::flag(machine, "VLLM_ROCM_USE_AITER_MHA", true),
            mla: enabled && env::flag(machine, "VLLM_ROCM_USE_AITER_MLA", true),
            rdna: rules == RuleSet::August2026 && installed && asked && arch.on_rdna4(),
        }
    }
}

/// The list that auto selection goes down, best first.
#[must_use]
pub fn priorities(
    rules: RuleSet,
    gates: Gates,
    model: ModelKind,
    query: &AttentionQuery,
) -> Vec<BackendName> {
    let flags = &query.flags;
    if flags.sparse {
        return vec![BackendName::ROCM_AITER_MLA_SPARSE];
    }
    if flags.mla {
        let all = [
            BackendName::ROCM_AITER_MLA,
            BackendName::TRITON_MLA,
            BackendName::ROCM_AITER_TRITON_MLA,
        ];
        return if gates.mla {
            all.to_vec()
        } else {
            vec![BackendName::TRITON_MLA]
        };
    }
    match rules {
        RuleSet::March2026 => march(gates),
        RuleSet::August2026 => august(gates, model, flags),
    }
}

fn march(gates: Gates) -> Vec<BackendName> {
    let mut list = vec![BackendName::ROCM_ATTN];
    if gates.mha {
        list.push(BackendName::ROCM_AITER_FA);
    }
    if gates.supported {
        list.push(BackendName::ROCM_AITER_UNIFIED_ATTN);
    }
    list.push(BackendName::TRITON_ATTN);
    list
}

fn august(gates: Gates, model: ModelKind, flags: &Flags) -> Vec<BackendName> {
    let mut list = Vec::with_capacity(5);
    // ROCM_ATTN keeps its cache in a layout that the encoder's side doesn't share, so models with
    // cross-attention don't see it at all: not as a rejection either.
    if !flags.kv_connector && model != ModelKind::EncoderDecoder {
        list.push(BackendName::ROCM_ATTN);
    }
    if gates.mha {
        list.push(BackendName::ROCM_AITER_FA);
    }
    if gates.supported {
        list.push(BackendName::ROCM_AITER_UNIFIED_ATTN);
    } else if gates.rdna {
        list.insert(0, BackendName::ROCM_AITER_UNIFIED_ATTN);
    }
    list.extend([BackendName::TRITON_ATTN, BackendName::TURBOQUANT]);
    list
}
