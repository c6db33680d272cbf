//! Both stages, for all three roles.

use std::sync::Arc;

use super::*;
use crate::attention::*;
use crate::dims::ModelDimensions;
use crate::error::Error;

/// A backend that only has a name and objects to one type of numbers.
struct Fake(&'static str, Option<Dtype>);

impl AttentionBackend for Fake {
    fn name(&self) -> &str {
        self.0
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        if self.1 == Some(query.dtype) {
            vec![Objection::Dtype]
        } else {
            Vec::new()
        }
    }

    fn attend(&self, _: &AttentionCall<'_>) -> crate::error::Result<Attended> {
        Err(Error::Cancelled)
    }
}

fn fake(name: &'static str) -> Arc<dyn AttentionBackend> {
    Arc::new(Fake(name, None))
}

fn registry() -> Registry {
    Registry::new(vec![fake("CPU_ATTN"), fake("NAIVE")])
}

fn dims() -> ModelDimensions {
    ModelDimensions {
        n_mels: 80,
        n_vocab: 51_865,
        n_audio_ctx: 1500,
        n_audio_state: 512,
        n_audio_head: 8,
        n_audio_layer: 6,
        n_text_ctx: 448,
        n_text_state: 512,
        n_text_head: 8,
        n_text_layer: 6,
    }
}

fn request(machine: Machine, backend: Option<&str>, backend_for: &[&str]) -> Request {
    Request {
        machine,
        backend: backend.map(str::to_owned),
        backend_for: backend_for.iter().map(|s| (*s).to_owned()).collect(),
        ..Request::default()
    }
}

/// The three names, or the error.
fn planned(request: &Request, registry: &Registry) -> String {
    match plan(request, registry, &dims()) {
        Ok(plan) => [plan.encoder(), plan.decoder(), plan.cross()]
            .map(|b| b.name().to_owned())
            .join(" "),
        Err(error) => error.to_string(),
    }
}

fn mi300x(settings: &[&str]) -> Machine {
    rocm_machine("gfx942:sramecc+:xnack-", settings)
}

#[test]
fn on_the_cpu() {
    let cpu = Machine::default();
    let mine = registry().with_front(vec![fake("MINE")]);
    let picky: Arc<dyn AttentionBackend> = Arc::new(Fake("PICKY", Some(Dtype::F32)));
    let picky = registry().with_front(vec![picky]);
    let hidden = Registry::new(vec![fake("NAIVE"), fake("CPU_ATTN")]);
    type Case<'a> = (&'a Registry, Option<&'a str>, &'a [&'a str], &'a str);
    let plain = registry();
    let table: &[Case<'_>] = &[
        (&plain, None, &[], "CPU_ATTN CPU_ATTN CPU_ATTN"),
        (&plain, Some("AUTO"), &[], "CPU_ATTN CPU_ATTN CPU_ATTN"),
        (&plain, Some("naive"), &[], "NAIVE NAIVE NAIVE"),
        (
            &plain,
            Some("torch_sdpa"),
            &[],
            "CPU_ATTN CPU_ATTN CPU_ATTN",
        ),
        (&plain, None, &["encoder=naive"], "NAIVE CPU_ATTN CPU_ATTN"),
        (
            &plain,
            None,
            &["full_attention=naive"],
            "CPU_ATTN NAIVE CPU_ATTN",
        ),
        (
            &plain,
            Some("naive"),
            &["cross_attention=cpu_attn"],
            "NAIVE NAIVE CPU_ATTN",
        ),
        (
            &plain,
            Some("naive"),
            &["encoder=auto"],
            "CPU_ATTN NAIVE NAIVE",
        ),
        (&mine, Some("mine"), &[], "MINE MINE MINE"),
        (&mine, None, &[], "MINE MINE MINE"),
        (&picky, None, &[], "CPU_ATTN CPU_ATTN CPU_ATTN"),
        (&hidden, None, &[], "NAIVE NAIVE NAIVE"),
    ];
    let mut failures = Vec::new();
    for (registry, backend, per_kind, expected) in table {
        let got = planned(&request(cpu.clone(), *backend, per_kind), registry);
        if got != *expected {
            failures.push(format!("{backend:?} {per_kind:?}: {got}"));
        }
    }
    none_failed(&failures);
    let refused = planned(&request(cpu.clone(), Some("picky"), &[]), &picky);
    assert!(
        refused.contains("PICKY's kernel cannot: [dtype not supported]"),
        "{refused}"
    );
    let missing = planned(&request(cpu, Some("TRITON_ATTN"), &[]), &plain);
    assert!(
        missing.contains("decoder self-attention: TRITON_ATTN has no kernel"),
        "{missing}"
    );
    assert!(
        missing.ends_with("kernel: CPU_ATTN, NAIVE, TORCH_SDPA (by CPU_ATTN)"),
        "{missing}"
    );
}

#[test]
fn an_impossible_cross_attention_is_refused_with_every_role() {
    let on = "VLLM_ROCM_USE_AITER=1";
    let request = request(mi300x(&["aiter", on]), Some("rocm_aiter_fa"), &[]);
    let text = planned(&request, &registry());
    assert!(
        text.contains("encoder self-attention: ROCM_AITER_FA"),
        "{text}"
    );
    assert!(
        text.contains("decoder self-attention: ROCM_AITER_FA"),
        "{text}"
    );
    assert!(
        text.contains(
            "decoder cross-attention: Selected backend AttentionBackendEnum.ROCM_AITER_FA is not \
             valid for this configuration. Reason: ['attention type \
             AttentionType.ENCODER_DECODER not supported']"
        ),
        "{text}"
    );
}

#[test]
fn a_choice_without_a_kernel_is_said_apart_from_the_choice() {
    let on = "VLLM_ROCM_USE_AITER=1";
    let plain = request(mi300x(&["aiter", on]), None, &[]);
    let text = planned(&plain, &registry());
    let expected = [
        "encoder self-attention: ROCM_AITER_FA has no kernel",
        "decoder self-attention: ROCM_AITER_FA has no kernel",
        "decoder cross-attention: ROCM_AITER_UNIFIED_ATTN has no kernel",
        "names that have a kernel: CPU_ATTN, NAIVE, TORCH_SDPA (by CPU_ATTN)",
    ];
    for part in expected {
        assert!(text.contains(part), "{part} not in {text}");
    }
    // A kernel of that name is all it takes.
    let more = registry().with_front(vec![fake("ROCM_AITER_FA"), fake("ROCM_AITER_UNIFIED_ATTN")]);
    assert_eq!(
        planned(&plain, &more),
        "ROCM_AITER_FA ROCM_AITER_FA ROCM_AITER_UNIFIED_ATTN"
    );
    // A caller's kernel does not make vLLM choose it; asking for it does, but not for the encoder.
    let mine = more.with_front(vec![fake("MINE")]);
    assert_eq!(
        planned(&plain, &mine),
        "ROCM_AITER_FA ROCM_AITER_FA ROCM_AITER_UNIFIED_ATTN"
    );
    let asked = request(mi300x(&["aiter", on]), Some("mine"), &[]);
    assert_eq!(planned(&asked, &mine), "ROCM_AITER_FA MINE MINE");
    let everywhere = request(mi300x(&[]), Some("naive"), &["encoder=cpu_attn"]);
    assert_eq!(planned(&everywhere, &registry()), "CPU_ATTN NAIVE NAIVE");
}

#[test]
fn one_kind_apart() {
    let apart = request(
        mi300x(&["aiter"]),
        Some("rocm_attn"),
        &["cross_attention=TRITON_ATTN"],
    );
    let (answers, _) = answers(&apart, &registry(), &dims()).unwrap();
    let names = answers.map(|a| a.name().unwrap().to_owned());
    assert_eq!(names, ["TORCH_SDPA", "ROCM_ATTN", "TRITON_ATTN"]);
    let bad: &[(&str, RuleSet, &str)] = &[
        (
            "cross_attention=NOPE",
            A,
            "Unknown attention backend: 'NOPE'",
        ),
        (
            "cross=NAIVE",
            A,
            "the valid ones are encoder, full_attention, cross_attention",
        ),
        ("NAIVE", A, "is not KIND=NAME"),
        (
            "cross_attention=TRITON_ATTN",
            P,
            "cannot be chosen apart under 2026-03",
        ),
    ];
    for (text, rules, expected) in bad {
        let request = Request {
            rules: *rules,
            ..request(mi300x(&[]), None, &[text])
        };
        let got = planned(&request, &registry());
        assert!(got.contains(expected), "{text}: {got}");
    }
    let twice = request(mi300x(&[]), None, &["encoder=auto", "encoder=NAIVE"]);
    assert!(planned(&twice, &registry()).contains("given twice"));
}

#[test]
fn the_environment_at_load() {
    let clash = mi300x(&["HIP_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"]);
    let text = planned(&request(clash, None, &[]), &registry());
    assert!(
        text.starts_with("Inconsistent GPU visibility env vars"),
        "{text}"
    );
    let invariant = request(mi300x(&["aiter", "VLLM_BATCH_INVARIANT=1"]), None, &[]);
    let (found, _) = answers(&invariant, &registry(), &dims()).unwrap();
    assert_eq!(found[1].name().unwrap(), "TRITON_ATTN");
    let march = Request {
        rules: P,
        ..invariant
    };
    let (found, _) = answers(&march, &registry(), &dims()).unwrap();
    assert_eq!(
        found[1].name().unwrap(),
        "ROCM_ATTN",
        "March doesn't look at it"
    );
    let warned = request(mi300x(&["CUDA_VISIBLE_DEVICES=0"]), None, &[]);
    let (_, log) = answers(&warned, &registry(), &dims()).unwrap();
    assert_eq!(
        log[0].text,
        crate::attention::vllm::env::CUDA_VISIBLE_DEPRECATED
    );
}

#[test]
fn simulated_machines_load_float16_and_block_sizes_follow() {
    let table: &[(RuleSet, &[&str], Option<usize>)] = &[
        (P, &["aiter"], Some(16)),
        (A, &["aiter"], Some(64)),
        (A, &["aiter", "VLLM_ROCM_USE_AITER=1"], Some(16)),
        (A, &[], Some(16)),
    ];
    for (rules, settings, expected) in table {
        let request = Request {
            rules: *rules,
            ..request(mi300x(settings), None, &[])
        };
        let (found, _) = answers(&request, &registry(), &dims()).unwrap();
        assert!(
            found
                .iter()
                .all(|a| a.query.dtype == Dtype::F16 && a.query.head_size == 64)
        );
        assert_eq!(
            block_size(&request, &found[1]),
            *expected,
            "{rules} {settings:?}"
        );
    }
    let cpu = Request::default();
    let (found, _) = answers(&cpu, &registry(), &dims()).unwrap();
    assert!(found.iter().all(|a| a.query.dtype == Dtype::F32));
    assert_eq!(block_size(&cpu, &found[1]), None);
}

#[test]
fn only_cross_attention_is_asked_for_weights() {
    let request = Request {
        weights: true,
        ..Request::default()
    };
    let (found, _) = answers(&request, &registry(), &dims()).unwrap();
    assert_eq!(found.map(|a| a.query.weights), [false, false, true]);
}
