//! The encoder's own chooser: vLLM's `get_vit_attn_backend`.
//!
//! It heeds neither `--attention-backend` nor the capability table, only a request for the encoder
//! itself, and that is checked against a list of names alone.

use super::arch::Arch;
use super::names::BackendName;
use super::objections::Objection;
use super::query::{AttentionQuery, Dtype, Machine, Platform};
use super::rocm::Gates;
use super::rule_set::RuleSet;
use super::select::{How, LogLine, Refusal, Rejection, Selection, alone};

const SUPPORTED: &[BackendName] = &[
    BackendName::FLASH_ATTN,
    BackendName::ROCM_AITER_FA,
    BackendName::TRITON_ATTN,
    BackendName::TORCH_SDPA,
];

/// Answers for the encoder as vLLM would. vLLM gives no reasons here; those of the rejections
/// are this engine's words for the step that wasn't taken.
///
/// # Errors
/// [`Refusal::NotForEncoder`] for a request outside the list, [`Refusal::NoArch`] where a GPU's
/// arch is not known.
pub fn select_encoder(
    rules: RuleSet,
    machine: &Machine,
    requested: Option<BackendName>,
    query: &AttentionQuery,
) -> Result<Selection, Refusal> {
    let (head_size, dtype) = (query.head_size, query.dtype);
    if machine.platform == Platform::Cpu {
        return Ok(alone(BackendName::CPU_ATTN, How::Only(requested)));
    }
    if let Some(backend) = requested {
        if !SUPPORTED.contains(&backend) {
            return Err(Refusal::NotForEncoder {
                backend,
                supported: SUPPORTED,
            });
        }
        return Ok(alone(backend, How::Explicit));
    }
    if machine.platform == Platform::Cuda {
        return Ok(cuda(head_size, dtype));
    }
    let arch = Arch(machine.arch.as_deref().ok_or(Refusal::NoArch)?);
    let mut rejected = Vec::new();
    let candidates = vec![
        BackendName::ROCM_AITER_FA,
        BackendName::FLASH_ATTN,
        BackendName::TORCH_SDPA,
    ];
    let steps = [
        aiter_fa(rules, machine, arch),
        flash_attn(rules, machine, arch, dtype),
    ];
    for (step, &backend) in steps.into_iter().zip(&candidates) {
        match step {
            None => return Ok(first(backend, candidates, rejected)),
            Some(reason) => rejected.push((backend, vec![Objection::other(reason)])),
        }
    }
    Ok(first(BackendName::TORCH_SDPA, candidates, rejected))
}

/// A choice and all that comes behind it in the list.
fn first(chosen: BackendName, candidates: Vec<BackendName>, rejected: Vec<Rejection>) -> Selection {
    let valid = candidates[rejected.len()..].to_vec();
    Selection {
        chosen,
        how: How::Auto,
        candidates,
        valid,
        rejected,
    }
}

/// `None` where AITER's attention is taken; its dtype is not asked about.
fn aiter_fa(rules: RuleSet, machine: &Machine, arch: Arch<'_>) -> Option<&'static str> {
    let gates = Gates::of(rules, machine);
    let taken = match rules {
        // The switch of multi-head attention is not looked at.
        RuleSet::March2026 => gates.enabled && arch.on_gfx9(),
        RuleSet::August2026 => gates.mha && arch.on_cdna(),
    };
    (!taken).then_some("AITER is not installed, not for this GPU, or not switched on")
}

/// `None` where flash-attn is taken: the compiled one on CDNA, the Triton one on RDNA.
fn flash_attn(
    rules: RuleSet,
    machine: &Machine,
    arch: Arch<'_>,
    dtype: Dtype,
) -> Option<&'static str> {
    let compiled = match rules {
        RuleSet::March2026 => arch.on_gfx9(),
        RuleSet::August2026 => arch.on_cdna(),
    };
    let compiled = compiled && machine.has_module("flash_attn");
    if !compiled && !triton_available(rules, machine, arch) {
        return Some("flash-attn is not installed, not for this GPU, or not switched on");
    }
    (!dtype.is_half()).then_some("flash-attn works in float16 and bfloat16 only")
}

/// Whether flash-attn's Triton kernels can serve an RDNA GPU.
#[must_use]
pub fn triton_available(rules: RuleSet, machine: &Machine, arch: Arch<'_>) -> bool {
    const AITER_COPY: &str = "aiter.ops.triton._triton_kernels.flash_attn_triton_amd";
    // An installed flash_attn counts as bringing the module; AITER's copy must be named.
    let module = machine.has_module("flash_attn.flash_attn_triton_amd")
        || (rules == RuleSet::August2026 && machine.installed.contains(AITER_COPY));
    let switched_on = machine.env("FLASH_ATTENTION_TRITON_AMD_ENABLE") == Some("TRUE");
    arch.on_gfx1x(rules) && module && switched_on
}

/// CUDA, for contrast.
fn cuda(head_size: usize, dtype: Dtype) -> Selection {
    let candidates = vec![
        BackendName::FLASH_ATTN,
        BackendName::TRITON_ATTN,
        BackendName::TORCH_SDPA,
    ];
    let mut rejected = Vec::new();
    if dtype.is_half() && head_size.is_multiple_of(8) && head_size <= 256 {
        return first(BackendName::FLASH_ATTN, candidates, rejected);
    }
    rejected.push((
        BackendName::FLASH_ATTN,
        vec![Objection::other("head_size or dtype")],
    ));
    if head_size >= 32 {
        return first(BackendName::TRITON_ATTN, candidates, rejected);
    }
    rejected.push((BackendName::TRITON_ATTN, vec![Objection::HeadSize]));
    first(BackendName::TORCH_SDPA, candidates, rejected)
}

/// What vLLM would log of a decision about the encoder.
#[must_use]
pub fn log(selection: &Selection, machine: &Machine) -> Vec<LogLine> {
    let on_rdna = machine
        .arch
        .as_deref()
        .is_some_and(|arch| !Arch(arch).on_cdna());
    let text = match (selection.how, selection.chosen) {
        (How::Only(_), _) => return Vec::new(),
        (How::Explicit, backend) => {
            format!("Using backend AttentionBackendEnum.{backend} for vit attention")
        }
        _ if machine.platform == Platform::Cuda => {
            format!(
                "Using backend AttentionBackendEnum.{} for vit attention",
                selection.chosen
            )
        }
        (_, BackendName::ROCM_AITER_FA) => {
            "Using AITER Flash Attention backend for ViT model.".to_owned()
        }
        (_, BackendName::FLASH_ATTN) if on_rdna => {
            "Using Flash Attention (Triton backend) for ViT model on RDNA.".to_owned()
        }
        (_, BackendName::FLASH_ATTN) => "Using Flash Attention backend for ViT model.".to_owned(),
        _ => "Using Torch SDPA backend for ViT model.".to_owned(),
    };
    vec![LogLine::info(text)]
}
