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
