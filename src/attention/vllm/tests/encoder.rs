//! The encoder's own chooser.

use super::*;
use crate::attention::vllm::encoder::{log, select_encoder};

const ON: &str = "VLLM_ROCM_USE_AITER=1";
const NO_MHA: &str = "VLLM_ROCM_USE_AITER_MHA=0";
const TRITON: &str = "FLASH_ATTENTION_TRITON_AMD_ENABLE=TRUE";
const FA: &str = "ROCM_AITER_FA";
const FL: &str = "FLASH_ATTN";
const SD: &str = "TORCH_SDPA";

/// Arch, settings, then March in f16 and f32, August in f16 and f32.
type Row = (&'static str, &'static [&'static str], [&'static str; 4]);

const AUTO: &[Row] = &[
    ("gfx942", &["aiter", ON], [FA, FA, FA, FA]),
    ("gfx950:sramecc+:xnack-", &["aiter", ON], [FA, FA, FA, FA]),
    ("gfx942", &["aiter", ON, NO_MHA], [FA, FA, SD, SD]),
    (
        "gfx942",
        &["aiter", ON, NO_MHA, "flash_attn"],
        [FA, FA, FL, SD],
    ),
    ("gfx942", &["aiter", "flash_attn"], [FL, SD, FL, SD]),
    ("gfx942", &["aiter"], [SD, SD, SD, SD]),
    ("gfx942", &[ON, "flash_attn"], [FL, SD, FL, SD]),
    ("gfx942", &[], [SD, SD, SD, SD]),
    ("gfx90a", &["aiter", ON, "flash_attn"], [FL, SD, FL, SD]),
    ("gfx90a", &["aiter", ON], [SD, SD, SD, SD]),
    ("gfx908", &["flash_attn"], [SD, SD, FL, SD]),
    ("gfx906", &["flash_attn"], [SD, SD, FL, SD]),
    ("gfx1250", &["aiter", ON], [SD, SD, FA, FA]),
    ("gfx1250", &["flash_attn"], [SD, SD, FL, SD]),
    ("gfx1250", &["flash_attn", TRITON], [FL, SD, FL, SD]),
    ("gfx1100", &["flash_attn", TRITON], [FL, SD, FL, SD]),
    (
        "gfx1201",
        &["flash_attn.flash_attn_triton_amd", TRITON],
        [FL, SD, FL, SD],
    ),
    ("gfx1201", &["flash_attn"], [SD, SD, SD, SD]),
    (
        "gfx1201",
        &["flash_attn", "FLASH_ATTENTION_TRITON_AMD_ENABLE=true"],
        [SD, SD, SD, SD],
    ),
    (
        "gfx1201",
        &["flash_attn", "FLASH_ATTENTION_TRITON_AMD_ENABLE=1"],
        [SD, SD, SD, SD],
    ),
    (
        "gfx1100",
        &[
            "aiter.ops.triton._triton_kernels.flash_attn_triton_amd",
            TRITON,
        ],
        [SD, SD, FL, SD],
    ),
    ("gfx1201", &["aiter", ON], [SD, SD, SD, SD]),
    (
        "gfx1030",
        &["aiter", ON, "flash_attn", TRITON],
        [SD, SD, SD, SD],
    ),
];

#[test]
fn automatic() {
    let mut failures = Vec::new();
    for (arch, settings, expected) in AUTO {
        let machine = rocm_machine(arch, settings);
        let cases = [
            (P, Dtype::F16),
            (P, Dtype::F32),
            (A, Dtype::F16),
            (A, Dtype::F32),
        ];
        for ((rules, dtype), expected) in cases.into_iter().zip(expected) {
            let answer = |dtype| {
                let query = AttentionQuery::new(AttentionType::Encoder, 64, dtype);
                outcome(select_encoder(rules, &machine, None, &query))
            };
            let got = answer(dtype);
            if got != *expected || (dtype == Dtype::F16 && answer(Dtype::Bf16) != *expected) {
                failures.push(format!("{rules} {arch} {settings:?} {dtype}: {got}"));
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn explicit() {
    let machine = rocm_machine("gfx1030", &[]);
    // Nothing but the name is checked: not the GPU, not the head, not the dtype.
    let query = AttentionQuery::new(AttentionType::Encoder, 7, Dtype::F32);
    for rules in RuleSet::ALL {
        for text in rules.members() {
            let got = outcome(select_encoder(
                rules,
                &machine,
                Some(name(rules, text)),
                &query,
            ));
            let takes = ["FLASH_ATTN", "ROCM_AITER_FA", "TRITON_ATTN", "TORCH_SDPA"].contains(text);
            let refusal = format!(
                "Backend AttentionBackendEnum.{text} is not supported for vit attention. Supported \
                 backends are: [FLASH_ATTN, ROCM_AITER_FA, TRITON_ATTN, TORCH_SDPA]"
            );
            assert_eq!(got, if takes { (*text).to_owned() } else { refusal });
        }
    }
}

#[test]
fn logs() {
    let query = AttentionQuery::new(AttentionType::Encoder, 64, Dtype::F16);
    let table: &[(&str, &[&str], &str)] = &[
        (
            "gfx942",
            &["aiter", ON],
            "INFO Using AITER Flash Attention backend for ViT model.",
        ),
        (
            "gfx942",
            &["flash_attn"],
            "INFO Using Flash Attention backend for ViT model.",
        ),
        (
            "gfx1100",
            &["flash_attn", TRITON],
            "INFO Using Flash Attention (Triton backend) for ViT model on RDNA.",
        ),
        (
            "gfx1100",
            &[],
            "INFO Using Torch SDPA backend for ViT model.",
        ),
    ];
    for (arch, settings, expected) in table {
        let machine = rocm_machine(arch, settings);
        let selection = select_encoder(A, &machine, None, &query).unwrap();
        assert_eq!(
            log(&selection, &machine)[0].to_string(),
            *expected,
            "{arch}"
        );
    }
}

#[test]
fn each_step_not_taken_has_its_own_reason() {
    const NO_AITER: &str = "the package aiter is not installed";
    const OFF: &str = "VLLM_ROCM_USE_AITER is not set (1 switches it on)";
    const NO_FLASH: &str = "the package flash_attn is not installed";
    /// Rules, arch, settings, dtype, what is against AITER and against flash-attn.
    type Row<'a> = (
        RuleSet,
        &'a str,
        &'a [&'a str],
        Dtype,
        &'a [&'a str],
        &'a [&'a str],
    );
    let (half, float) = (Dtype::F16, Dtype::F32);
    let no_float = "flash-attn works in float16 and bfloat16 only";
    let table: &[Row] = &[
        (A, "gfx942", &[], half, &[NO_AITER, OFF], &[NO_FLASH]),
        (A, "gfx942", &["aiter"], half, &[OFF], &[NO_FLASH]),
        (
            A,
            "gfx942",
            &["aiter", ON, NO_MHA],
            float,
            &["VLLM_ROCM_USE_AITER_MHA=0 switches it off"],
            &[NO_FLASH, no_float],
        ),
        (
            P,
            "gfx90a",
            &["aiter", "VLLM_ROCM_USE_AITER=yes", "flash_attn"],
            float,
            &[
                "AITER's kernels are not for gfx90a",
                "VLLM_ROCM_USE_AITER=yes counts as off (1 or true switches it on)",
            ],
            &[no_float],
        ),
        (
            A,
            "gfx1201",
            &["aiter", ON, "flash_attn"],
            half,
            &["AITER's kernels are not for gfx1201"],
            &["FLASH_ATTENTION_TRITON_AMD_ENABLE is not set (it must be TRUE)"],
        ),
        (
            A,
            "gfx1030",
            &["aiter", ON, "flash_attn", TRITON],
            half,
            &["AITER's kernels are not for gfx1030"],
            &["flash-attn has no kernels for gfx1030"],
        ),
    ];
    for (rules, arch, settings, dtype, aiter, flash) in table {
        let query = AttentionQuery::new(AttentionType::Encoder, 64, *dtype);
        let machine = rocm_machine(arch, settings);
        let selection = select_encoder(*rules, &machine, None, &query).unwrap();
        let words = |reasons: &[Objection]| -> Vec<String> {
            reasons.iter().map(ToString::to_string).collect()
        };
        let got: Vec<_> = selection
            .rejected
            .iter()
            .map(|(b, reasons)| (b.as_str(), words(reasons)))
            .collect();
        let want = |reasons: &[&str]| reasons.iter().map(ToString::to_string).collect();
        let want: Vec<(&str, Vec<String>)> = vec![(FA, want(aiter)), (FL, want(flash))];
        assert_eq!(got, want, "{rules} {arch} {settings:?}");
        assert_eq!(selection.valid, [BackendName::TORCH_SDPA]);
    }
}
