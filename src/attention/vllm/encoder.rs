//! The encoder's own chooser: vLLM's `get_vit_attn_backend`.
//!
//! It heeds neither `--attention-backend` nor the capability table, only a request for the encoder
//! itself, and that is checked against a list of names alone.

use super::arch::Arch;
use super::names::BackendName;
use super::objections::Objection;
use super::query::{AttentionQuery, Dtype, Machine, Platform};
use super::reasons::{AiterNeeds, against_aiter, missing, not_exactly};
use super::rocm::Gates;
use super::rule_set::RuleSet;
use super::select::{How, LogLine, Refusal, Rejection, Selection, alone};

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
        if !BackendName::OF_ENCODER.contains(&backend) {
            return Err(Refusal::NotForEncoder {
                backend,
                supported: BackendName::OF_ENCODER,
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
        match step.is_empty() {
            true => return Ok(first(backend, candidates, rejected)),
            false => rejected.push((backend, step.into_iter().map(Objection::other).collect())),
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

/// What keeps AITER's attention from being taken: nothing where it is. Its dtype is not asked about.
fn aiter_fa(rules: RuleSet, machine: &Machine, arch: Arch<'_>) -> Vec<String> {
    let gates = Gates::of(rules, machine);
    // In March the switch of multi-head attention was not looked at.
    let (taken, needs) = match rules {
        RuleSet::March2026 => (gates.enabled && arch.on_gfx9(), AiterNeeds::Switch),
        RuleSet::August2026 => (gates.mha && arch.on_cdna(), AiterNeeds::MultiHead),
    };
    match taken {
        true => Vec::new(),
        false => against_aiter(rules, machine, needs),
    }
}

/// What keeps flash-attn from being taken: the compiled one on CDNA, the Triton one on RDNA.
fn flash_attn(rules: RuleSet, machine: &Machine, arch: Arch<'_>, dtype: Dtype) -> Vec<String> {
    let on_cdna = match rules {
        RuleSet::March2026 => arch.on_gfx9(),
        RuleSet::August2026 => arch.on_cdna(),
    };
    let installed = machine.has_module("flash_attn");
    let mut against = Vec::new();
    let taken = on_cdna && installed || triton_available(rules, machine, arch);
    if !taken {
        let triton = !on_cdna && arch.on_gfx1x(rules);
        if !on_cdna && !triton {
            against.push(format!("flash-attn has no kernels for {}", arch.0));
        } else if !installed {
            against.push(missing("flash_attn"));
        }
        if triton {
            against.extend(not_exactly(machine, TRITON_SWITCH, "TRUE"));
        }
    }
    if !dtype.is_half() {
        against.push("flash-attn works in float16 and bfloat16 only".to_owned());
    }
    against
}

const TRITON_SWITCH: &str = "FLASH_ATTENTION_TRITON_AMD_ENABLE";

/// Whether flash-attn's Triton kernels can serve an RDNA GPU.
#[must_use]
pub fn triton_available(rules: RuleSet, machine: &Machine, arch: Arch<'_>) -> bool {
    const AITER_COPY: &str = "aiter.ops.triton._triton_kernels.flash_attn_triton_amd";
    // An installed flash_attn counts as bringing the module; AITER's copy must be named.
    let module = machine.has_module("flash_attn.flash_attn_triton_amd")
        || (rules == RuleSet::August2026 && machine.installed.contains(AITER_COPY));
    let switched_on = machine.env(TRITON_SWITCH) == Some("TRUE");
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
