//! Auto and explicit selection, by the published tables.

use super::*;

const ON: &str = "VLLM_ROCM_USE_AITER=1";
const NO_MHA_SWITCH: &str = "VLLM_ROCM_USE_AITER_MHA=0";

/// Archs, settings of the machine, then March: decoder, cross; August: decoder, cross.
struct Whisper(
    &'static [&'static str],
    &'static [&'static [&'static str]],
    [&'static str; 4],
);

const RA: &str = "ROCM_ATTN";
const FA: &str = "ROCM_AITER_FA";
const UA: &str = "ROCM_AITER_UNIFIED_ATTN";
const TA: &str = "TRITON_ATTN";

const NO_PACKAGE: &[&[&str]] = &[&[], &[ON], &[ON, "VLLM_ROCM_USE_AITER_MHA=0"]];
const NOT_ASKED: &[&[&str]] = &[
    &["aiter"],
    &["aiter", "VLLM_ROCM_USE_AITER=0"],
    &["aiter", "VLLM_ROCM_USE_AITER_MHA=1"],
    &[
        "aiter",
        "VLLM_ROCM_USE_AITER=0",
        "VLLM_ROCM_USE_AITER_MHA=0",
    ],
];
const ASKED: &[&[&str]] = &[&["aiter", ON], &["aiter", ON, "VLLM_ROCM_USE_AITER_MHA=1"]];
const NO_MHA: &[&[&str]] = &[&["aiter", ON, "VLLM_ROCM_USE_AITER_MHA=0"]];
const ALL_SETTINGS: &[&[&str]] = &[
    &[],
    &[ON],
    &["aiter"],
    &["aiter", ON],
    &["aiter", ON, "VLLM_ROCM_USE_AITER_MHA=0"],
];
const ASKED_ANY_MHA: &[&[&str]] = &[&["aiter", ON], &["aiter", ON, "VLLM_ROCM_USE_AITER_MHA=0"]];
const NO_OR_NOT_ASKED: &[&[&str]] = &[&[], &[ON], &["aiter"], &["aiter", "VLLM_ROCM_USE_AITER=0"]];

const WHISPER: [Whisper; 11] = [
    Whisper(&["gfx942", "gfx950"], NO_PACKAGE, [RA, TA, TA, TA]),
    Whisper(&["gfx942", "gfx950"], NOT_ASKED, [RA, UA, UA, UA]),
    Whisper(&["gfx942", "gfx950"], ASKED, [RA, UA, FA, UA]),
    Whisper(&["gfx942", "gfx950"], NO_MHA, [RA, UA, UA, UA]),
    Whisper(
        &[
            "gfx90a", "gfx908", "gfx906", "gfx1030", "gfx1100", "gfx1151",
        ],
        ALL_SETTINGS,
        [RA, TA, TA, TA],
    ),
    Whisper(&["gfx1200", "gfx1201"], ASKED_ANY_MHA, [RA, TA, UA, UA]),
    Whisper(&["gfx1200", "gfx1201"], NO_OR_NOT_ASKED, [RA, TA, TA, TA]),
    Whisper(&["gfx1250"], NO_PACKAGE, [RA, TA, TA, TA]),
    Whisper(&["gfx1250"], NOT_ASKED, [RA, TA, UA, UA]),
    Whisper(&["gfx1250"], ASKED, [RA, TA, FA, UA]),
    Whisper(&["gfx1250"], NO_MHA, [RA, TA, UA, UA]),
];

fn auto(rules: RuleSet, machine: &Machine, attn_type: AttentionType, dtype: Dtype) -> String {
    let query = AttentionQuery::new(attn_type, 64, dtype);
    outcome(select(
        rules,
        machine,
        ModelKind::EncoderDecoder,
        None,
        &query,
    ))
}

#[test]
fn whisper_on_every_machine() {
    use AttentionType::{Decoder, Encoder, EncoderDecoder, EncoderOnly};
    let mut failures = Vec::new();
    for Whisper(archs, settings, [p_self, p_cross, a_self, a_cross]) in WHISPER {
        let machines = archs
            .iter()
            .flat_map(|a| settings.iter().map(|s| rocm_machine(a, s)));
        for machine in machines {
            let mut expect = |rules, attn_type, dtype, expected: &str| {
                let got = auto(rules, &machine, attn_type, dtype);
                if got != expected {
                    failures.push(format!("{rules} {machine:?} {attn_type} {dtype}: {got}"));
                }
            };
            for dtype in [Dtype::F16, Dtype::Bf16] {
                expect(P, Decoder, dtype, p_self);
                expect(P, EncoderDecoder, dtype, p_cross);
                expect(A, Decoder, dtype, a_self);
                for attn_type in [EncoderDecoder, Encoder, EncoderOnly] {
                    expect(A, attn_type, dtype, a_cross);
                }
            }
            expect(P, Decoder, Dtype::F32, p_self);
            expect(P, EncoderDecoder, Dtype::F32, p_cross);
            for attn_type in [Decoder, EncoderDecoder] {
                expect(A, attn_type, Dtype::F32, TA);
            }
            for attn_type in [Encoder, EncoderOnly] {
                expect(P, attn_type, Dtype::F16, RA);
            }
        }
    }
    none_failed(&failures);
}

/// What is out of the ordinary, then March and August on gfx942 with AITER switched on.
type Condition = (
    &'static str,
    fn(&mut AttentionQuery),
    Option<&'static str>,
    &'static str,
);

#[test]
fn decoder_only_models() {
    let none = "No valid attention backend found for rocm with ";
    let table: &[Condition] = &[
        ("plain", |_| (), Some(RA), RA),
        ("sinks", |q| q.flags.sink = true, Some(UA), FA),
        ("non-causal", |q| q.flags.non_causal = true, Some(none), RA),
        ("mm-prefix", |q| q.flags.mm_prefix = true, Some(RA), RA),
        ("window", |q| q.flags.sliding_window = true, None, RA),
        (
            "batch invariant",
            |q| q.flags.batch_invariant = true,
            None,
            TA,
        ),
        ("connector", |q| q.flags.kv_connector = true, None, FA),
        (
            "per-head",
            |q| q.flags.per_head_quant_scales = true,
            Some(none),
            none,
        ),
        ("block 1", |q| q.block_size = Some(1), Some(none), none),
        ("block 8", |q| q.block_size = Some(8), Some(none), none),
        ("block 24", |q| q.block_size = Some(24), Some(none), none),
        ("block 48", |q| q.block_size = Some(48), Some(RA), RA),
    ];
    let machine = rocm_machine("gfx942", &["aiter", ON]);
    let mut failures = Vec::new();
    for (what, change, march, august) in table {
        let mut query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
        change(&mut query);
        // March has no such inputs: they change nothing.
        for (rules, expected) in [(P, march.unwrap_or(RA)), (A, august)] {
            let got = outcome(select(rules, &machine, ModelKind::Decoder, None, &query));
            if !got.starts_with(expected) {
                failures.push(format!("{rules} {what}: {got}"));
            }
        }
    }
    let heads = [
        (RA, RA, &[32, 64, 80, 96, 128, 160, 192, 224, 256][..]),
        (UA, TA, &[40, 48, 72, 100, 112, 288, 512][..]),
        (none, none, &[16, 24, 31][..]),
    ];
    for (with_aiter, without, sizes) in heads {
        for (expected, machine) in [
            (with_aiter, &machine),
            (without, &rocm_machine("gfx942", &[])),
        ] {
            for (rules, size) in [P, A]
                .into_iter()
                .flat_map(|r| sizes.iter().map(move |s| (r, *s)))
            {
                let query = AttentionQuery::new(AttentionType::Decoder, size, Dtype::F16);
                let got = outcome(select(rules, machine, ModelKind::Decoder, None, &query));
                if !got.starts_with(expected) {
                    failures.push(format!("{rules} head {size}: {got}"));
                }
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn a_connector_without_aiters_attention_falls_to_triton() {
    let mut query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
    query.flags.kv_connector = true;
    for settings in [
        &[][..],
        &["aiter"],
        &["aiter", ON, "VLLM_ROCM_USE_AITER_MHA=0"],
    ] {
        let machine = rocm_machine("gfx942", settings);
        let answer = select(A, &machine, ModelKind::Decoder, None, &query).unwrap();
        assert_eq!(answer.chosen.as_str(), TA, "{settings:?}");
        assert!(
            answer.rejected.iter().all(|(b, _)| b.as_str() != RA),
            "ROCM_ATTN isn't listed"
        );
    }
}

#[test]
fn explicit_requests_by_attention_type() {
    let at = |t: AttentionType| format!("attention type {t} not supported");
    let all = AttentionType::ALL;
    // By backend: for which types it is refused, and what is said before that.
    let table: &[(&str, &[AttentionType], &str)] = &[
        ("ROCM_ATTN", &all[3..], ""),
        ("ROCM_AITER_FA", &all[1..], ""),
        ("ROCM_AITER_UNIFIED_ATTN", &[], ""),
        ("TRITON_ATTN", &[], ""),
        ("FLEX_ATTENTION", &[all[1], all[3]], ""),
        ("FLASH_ATTN", &[], ""),
        ("FLASHINFER", &[], "ImportError"),
        ("TURBOQUANT", &all[1..], "kv_cache_dtype not supported"),
        // Members without rules on ROCm cannot be imported there.
        ("CPU_ATTN", &[], "ImportError"),
    ];
    let machine = rocm_machine("gfx942:sramecc+:xnack-", &["aiter"]);
    let mut failures = Vec::new();
    for (backend, refused, first) in table {
        let rule_sets = if *backend == "TURBOQUANT" {
            &[A][..]
        } else {
            &[P, A]
        };
        for (rules, t) in rule_sets.iter().flat_map(|r| all.map(|t| (*r, t))) {
            let query = AttentionQuery::new(t, 64, Dtype::F16);
            let requested = Some(name(rules, backend));
            let got = outcome(select(
                rules,
                &machine,
                ModelKind::EncoderDecoder,
                requested,
                &query,
            ));
            let mut reasons: Vec<String> = Vec::new();
            reasons.extend((!first.is_empty()).then(|| format!("'{first}'")));
            reasons.extend(refused.contains(&t).then(|| format!("'{}'", at(t))));
            let expected = if reasons.is_empty() {
                (*backend).to_owned()
            } else {
                format!(
                    "Selected backend AttentionBackendEnum.{backend} is not valid for this \
                     configuration. Reason: [{}]",
                    reasons.join(", ")
                )
            };
            if got != expected {
                failures.push(format!("{rules} {backend} {t}: {got}"));
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn aiter_attention_elsewhere() {
    let cc = "compute capability not supported";
    let cross = "attention type AttentionType.ENCODER_DECODER not supported";
    let mut failures = Vec::new();
    for (rules, arch) in [
        (P, "gfx90a"),
        (P, "gfx1250"),
        (P, "gfx1201"),
        (A, "gfx90a"),
        (A, "gfx1100"),
    ] {
        let machine = rocm_machine(arch, &["aiter", ON]);
        let requested = Some(BackendName::ROCM_AITER_FA);
        for (attn_type, dtype, expected) in [
            (AttentionType::Decoder, Dtype::F16, format!("['{cc}']")),
            (
                AttentionType::EncoderDecoder,
                Dtype::F16,
                format!("['{cc}', '{cross}']"),
            ),
            (
                AttentionType::EncoderDecoder,
                Dtype::F32,
                format!("['dtype not supported', '{cc}', '{cross}']"),
            ),
        ] {
            let query = AttentionQuery::new(attn_type, 64, dtype);
            let model = ModelKind::EncoderDecoder;
            let got = outcome(select(rules, &machine, model, requested, &query));
            if !got.ends_with(&expected) {
                failures.push(format!("{rules} {arch} {attn_type} {dtype}: {got}"));
            }
        }
    }
    let query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
    let machine = rocm_machine("gfx1250", &[]);
    let fa = Some(BackendName::ROCM_AITER_FA);
    assert_eq!(
        outcome(select(A, &machine, ModelKind::EncoderDecoder, fa, &query)),
        FA
    );
    none_failed(&failures);
}

/// vLLM's own table test: head 128, block 16, gfx942 with AITER installed.
/// The latent ones come with `Some(block)`.
type Seed = (
    Option<&'static str>,
    &'static [&'static str],
    Option<usize>,
    &'static str,
);

#[test]
fn vllms_own_cases() {
    let table: &[Seed] = &[
        (Some("FLEX_ATTENTION"), &[], None, "FLEX_ATTENTION"),
        (Some(TA), &[], None, TA),
        (Some(RA), &[], None, RA),
        (Some(FA), &[], None, FA),
        (Some(UA), &[], None, UA),
        (None, &[], None, RA),
        (None, &[ON], None, RA),
        (None, &[ON, NO_MHA_SWITCH], None, RA),
        (Some(TA), &[ON], None, TA),
        (Some(RA), &[ON], None, RA),
        (Some("TRITON_MLA"), &[], Some(16), "TRITON_MLA"),
        (Some("TRITON_MLA"), &[ON], Some(16), "TRITON_MLA"),
        (
            Some("TRITON_MLA"),
            &[],
            Some(1),
            "Selected backend AttentionBackendEnum.TRITON_MLA",
        ),
        (Some("ROCM_AITER_MLA"), &[], Some(1), "ROCM_AITER_MLA"),
        (Some("ROCM_AITER_MLA"), &[], Some(16), "ROCM_AITER_MLA"),
        (None, &[ON], Some(1), "ROCM_AITER_MLA"),
        (None, &[ON], Some(16), "ROCM_AITER_MLA"),
        (
            None,
            &[ON, "VLLM_ROCM_USE_AITER_MLA=0"],
            Some(16),
            "TRITON_MLA",
        ),
        (None, &[], Some(16), "TRITON_MLA"),
        (
            Some("ROCM_AITER_TRITON_MLA"),
            &[],
            Some(16),
            "ROCM_AITER_TRITON_MLA",
        ),
    ];
    let mut failures = Vec::new();
    for (rules, (requested, env, latent, expected)) in [P, A]
        .into_iter()
        .flat_map(|r| table.iter().map(move |row| (r, row)))
    {
        let mut machine = rocm_machine("gfx942", env);
        machine.installed.insert("aiter".to_owned());
        let mut query = AttentionQuery::new(AttentionType::Decoder, 128, Dtype::F16);
        query.block_size = Some(latent.unwrap_or(16));
        query.flags.mla = latent.is_some();
        let requested = requested.map(|r| name(rules, r));
        let got = outcome(select(
            rules,
            &machine,
            ModelKind::Decoder,
            requested,
            &query,
        ));
        if !got.starts_with(expected) {
            failures.push(format!("{rules} {requested:?} {env:?} {latent:?}: {got}"));
        }
    }
    none_failed(&failures);
    let mut query = AttentionQuery::new(AttentionType::Decoder, 128, Dtype::F16);
    query.flags.sparse = true;
    let machine = rocm_machine("gfx942", &[]);
    let answer = outcome(select(A, &machine, ModelKind::Decoder, None, &query));
    assert!(
        answer.contains("No valid attention backend found"),
        "{answer}"
    );
    assert!(answer.contains("non-MLA not supported"), "{answer}");
}

#[test]
fn a_turboquant_cache_passes_over_what_was_asked_for_in_august_only() {
    let mut query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
    query.kv_cache_dtype = "turboquant_4bit_nc".to_owned();
    let machine = rocm_machine("gfx942", &[]);
    let asked = Some(BackendName::TRITON_ATTN);
    let answer = select(A, &machine, ModelKind::Decoder, asked, &query).unwrap();
    assert_eq!(answer.chosen, BackendName::TURBOQUANT);
    assert_eq!(answer.how, How::AutoInsteadOf(BackendName::TRITON_ATTN));
    let refused = select(P, &machine, ModelKind::Decoder, asked, &query);
    assert!(outcome(refused).ends_with("Reason: ['kv_cache_dtype not supported']"));
}

#[test]
fn a_backend_that_cannot_be_imported_is_rejected_for_that_alone() {
    let query = AttentionQuery::new(AttentionType::EncoderDecoder, 7, Dtype::F32);
    let mut machine = rocm_machine("gfx942", &[]);
    machine.unimportable.insert(TA.to_owned());
    let refused = select(P, &machine, ModelKind::Decoder, None, &query).unwrap_err();
    assert_eq!(
        refused.rejected()[1],
        (BackendName::TRITON_ATTN, vec![Objection::ImportError])
    );
    let asked = Some(BackendName::TRITON_ATTN);
    let refused = outcome(select(P, &machine, ModelKind::Decoder, asked, &query));
    assert!(refused.ends_with("Reason: ['ImportError']"), "{refused}");
}

#[test]
fn other_platforms() {
    let query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
    let machine = |platform, arch: Option<&str>| Machine {
        platform,
        arch: arch.map(str::to_owned),
        installed: ["flashinfer".to_owned()].into(),
        ..Machine::default()
    };
    let table = [
        (
            Platform::Cuda,
            Some("sm_90"),
            "FLASH_ATTN FLASHINFER TRITON_ATTN FLEX_ATTENTION",
        ),
        (
            Platform::Cuda,
            Some("sm_100"),
            "FLASHINFER FLASH_ATTN TRITON_ATTN FLEX_ATTENTION",
        ),
        (
            Platform::Cuda,
            Some("10.3"),
            "FLASHINFER FLASH_ATTN TRITON_ATTN FLEX_ATTENTION",
        ),
        (
            Platform::Cuda,
            None,
            "FLASH_ATTN FLASHINFER TRITON_ATTN FLEX_ATTENTION",
        ),
        (
            Platform::Cuda,
            Some("sm_75"),
            "FLASHINFER TRITON_ATTN FLEX_ATTENTION",
        ),
        (Platform::Cpu, None, "CPU_ATTN"),
    ];
    for (platform, arch, expected) in table {
        let machine = machine(platform, arch);
        let answer = select(P, &machine, ModelKind::Decoder, None, &query).unwrap();
        let names: Vec<&str> = answer.valid.iter().map(|b| b.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{platform:?} {arch:?}");
    }
    let cpu = machine(Platform::Cpu, None);
    let answer = select(
        A,
        &cpu,
        ModelKind::Decoder,
        Some(BackendName::TRITON_ATTN),
        &query,
    );
    let answer = answer.unwrap();
    assert_eq!(answer.chosen, BackendName::CPU_ATTN);
    let log = answer.log(A, &cpu, &query);
    let expected = "INFO Cannot use AttentionBackendEnum.TRITON_ATTN backend on CPU.";
    assert_eq!(log[0].to_string(), expected);
}
