//! The attention of the card's executor as backends' names: it is computed inside a step, on caches that never leave
//! the card, so nothing else can call it.
//!
//! On NVIDIA's cards a backend has its kernels' name. On AMD's, vLLM's ROCm rules choose, asked about the chip that is
//! there, and what they choose is one of vLLM's names: every name that they give Whisper is computed by the same
//! kernels, and a name that no kernel answers to is refused.

use std::sync::Arc;

use crate::attention::{
    self, Attended, AttentionBackend, AttentionCall, AttentionQuery, BackendName, Objection, Plan,
    Platform, Registry, Request, plain_objections,
};
use crate::device::{Api, Arch, CardInfo};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::model::ComputeType;

/// What the ROCm rules choose for Whisper, of themselves or when asked.
const OF_ROCM: [BackendName; 6] = [
    BackendName::FLASH_ATTN,
    BackendName::ROCM_AITER_FA,
    BackendName::ROCM_AITER_UNIFIED_ATTN,
    BackendName::ROCM_ATTN,
    BackendName::TORCH_SDPA,
    BackendName::TRITON_ATTN,
];

/// Attention by the kernels of a compute type, under their name or one of vLLM's.
pub struct CardAttention {
    name: &'static str,
    kernels: &'static str,
}

impl CardAttention {
    /// What a card has: its kernels by their own name, and on AMD's under vLLM's names too.
    ///
    /// `CUDA_PLAIN` and `HIP_PLAIN` are those in 32-bit floats; `CUDA_FLASH` is on tensor cores, flash and paged;
    /// `CUDA_FLASH_INT8` has the audio's keys and values as bytes.
    fn all(api: Api, compute: ComputeType) -> Registry {
        let kernels = match (api, compute) {
            (Api::Rocm, _) => "HIP_PLAIN",
            (_, ComputeType::F16) => "CUDA_FLASH",
            (_, ComputeType::Int8Float16 | ComputeType::Fp8) => "CUDA_FLASH_INT8",
            _ => "CUDA_PLAIN",
        };
        let names = match api {
            Api::Cuda => &[][..],
            Api::Rocm => &OF_ROCM,
        };
        let names = names.iter().map(|name| name.as_str()).chain([kernels]);
        let backend = |name| -> Arc<dyn AttentionBackend> { Arc::new(Self { name, kernels }) };
        Registry::new(names.map(backend).collect())
    }
}

impl AttentionBackend for CardAttention {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kernels(&self) -> &str {
        self.kernels
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        plain_objections(query)
    }

    fn attend(&self, _: &AttentionCall<'_>) -> Result<Attended> {
        let name = self.name;
        let reason = format!("{name} computes on a card's own caches, inside its executor");
        Err(Error::Attention(reason))
    }
}

/// Who attends on a card: on AMD's what vLLM's rules choose for its chip, on NVIDIA's its kernels.
///
/// # Errors
/// The rules' refusal, a choice that no kernel answers to, a machine that is described as another than the card's.
pub fn plan(
    request: &Request,
    card: &CardInfo,
    compute: ComputeType,
    dims: &ModelDimensions,
) -> Result<Plan> {
    let registry = CardAttention::all(card.arch.api(), compute);
    attention::plan(&of_card(request, card)?, &registry, dims)
}

/// The request with the card as its machine, where rules of its maker's choose.
fn of_card(request: &Request, card: &CardInfo) -> Result<Request> {
    let mut request = request.clone();
    let Arch::Gfx(chip) = &card.arch else {
        return Ok(request);
    };
    let machine = &mut request.machine;
    let other = |option, typed: &str| Error::Option {
        option,
        reason: format!("{typed}: the card {} is AMD's, {chip}", card.id),
    };
    if machine.platform == Platform::Cuda {
        return Err(other("platform", "cuda"));
    }
    if let Some(arch) = machine.arch.take()
        && Arch::Gfx(arch.clone()).gfx() != card.arch.gfx()
    {
        return Err(other("arch", &arch));
    }
    machine.platform = Platform::Rocm;
    machine.arch = Some(chip.clone());
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Dtype, Role, RuleSet};
    use crate::device::recording::card;

    fn base() -> ModelDimensions {
        crate::weights::hub::find("base").unwrap().dims()
    }

    #[test]
    fn nvidias_cards_name_their_kernels() {
        for (compute, name) in [
            (ComputeType::F32, "CUDA_PLAIN"),
            (ComputeType::F16, "CUDA_FLASH"),
            (ComputeType::Int8Float16, "CUDA_FLASH_INT8"),
        ] {
            let plan = plan(&Request::default(), &card(), compute, &base()).unwrap();
            assert_eq!(Role::ALL.map(|role| plan.served_by(role)), [name; 3]);
            assert_eq!(plan.note(), None);
        }
    }

    /// Whisper on AMD's chips that there are kernels for, with everything installed or not, switched on or not.
    #[test]
    fn whatever_the_rules_choose_has_kernels() {
        const SETTINGS: [&str; 4] = [
            "aiter",
            "flash_attn",
            "VLLM_ROCM_USE_AITER=1",
            "VLLM_ROCM_USE_AITER_MHA=0",
        ];
        let mut chosen = std::collections::BTreeSet::new();
        for (chip, mask) in ["gfx90a", "gfx942"]
            .iter()
            .flat_map(|c| (0..16).map(move |m| (c, m)))
        {
            let mut request = Request::default();
            let machine = &mut request.machine;
            for setting in (0..4).filter(|i| mask >> i & 1 == 1).map(|i| SETTINGS[i]) {
                if let Some((name, value)) = setting.split_once('=') {
                    machine.env.insert(name.into(), value.into());
                } else {
                    machine.installed.insert(setting.into());
                }
            }
            let info = CardInfo {
                arch: Arch::Gfx((*chip).to_owned()),
                ..card()
            };
            for rules in [RuleSet::March2026, RuleSet::August2026] {
                for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F32] {
                    let request = Request {
                        rules,
                        dtype: Some(dtype),
                        ..request.clone()
                    };
                    let plan = plan(&request, &info, ComputeType::F32, &base()).unwrap();
                    chosen.extend(Role::ALL.map(|role| plan.served_by(role)));
                }
            }
        }
        let every = OF_ROCM.map(|name| format!("{name} (HIP_PLAIN)"));
        assert_eq!(chosen, every.into());
    }

    #[test]
    fn the_cards_own_name_may_be_asked_for() {
        let info = CardInfo {
            arch: Arch::Gfx("gfx942".into()),
            ..card()
        };
        let request = Request {
            backend: Some("hip_plain".into()),
            ..Request::default()
        };
        let plan = plan(&request, &info, ComputeType::F32, &base()).unwrap();
        assert_eq!(plan.served_by(Role::DecoderCross), "HIP_PLAIN");
    }
}
