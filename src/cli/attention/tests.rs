use std::sync::Arc;

use serde_json::{Value, json};

use super::machine::Described;
use super::*;
use crate::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, Dtype, Objection, Request, RuleSet,
};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// Has a name and takes one type of numbers.
struct Fake(&'static str, Dtype);

impl AttentionBackend for Fake {
    fn name(&self) -> &str {
        self.0
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        if query.dtype == self.1 {
            Vec::new()
        } else {
            vec![Objection::Dtype]
        }
    }

    fn attend(&self, _: &AttentionCall<'_>) -> Result<Attended> {
        Err(Error::Cancelled)
    }
}

fn registry() -> Registry {
    Registry::new(vec![
        Arc::new(Fake("CPU_ATTN", Dtype::F16)),
        Arc::new(Fake("NAIVE", Dtype::F32)),
    ])
}

fn dims() -> ModelDimensions {
    ModelDimensions {
        n_mels: 80,
        n_vocab: 51_865,
        n_audio_ctx: 1500,
        n_audio_state: 384,
        n_audio_head: 6,
        n_audio_layer: 4,
        n_text_ctx: 448,
        n_text_state: 384,
        n_text_head: 6,
        n_text_layer: 4,
    }
}

fn mi300x(packages: &[&str], env: &[&str]) -> Request {
    let owned = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
    let described = Described {
        platform: Some("ROCm"),
        arch: Some("gfx942:sramecc+:xnack-"),
        installed: &owned(packages),
        environment: &owned(env),
        ..Described::default()
    };
    Request {
        machine: described.machine().unwrap(),
        ..Request::default()
    }
}

fn asked(model: &str) -> Asked {
    Asked {
        hub_name: Some(hub_name(model)),
        ..Asked::default()
    }
}

fn explained(request: &Request, asked: &Asked) -> Outcome {
    explain(request, &registry(), &dims(), asked).unwrap()
}

fn holds_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn explain_in_words() {
    let request = mi300x(&["aiter"], &["VLLM_ROCM_USE_AITER=1"]);
    let Outcome { text, code } = explained(&request, &asked("tiny"));
    assert_eq!(code, 0);
    let summary = "encoder self-attention   ROCM_AITER_FA\ndecoder self-attention   ROCM_AITER_FA\n\
                   decoder cross-attention  ROCM_AITER_UNIFIED_ATTN\n\n";
    assert!(text.starts_with(summary), "{text}");
    holds_all(
        &text,
        &[
            "rule set   2026-08 (vLLM 7ca49fbe4bab, #53176, 22 August 2026)\n",
            "platform   rocm gfx942:sramecc+:xnack-, aiter installed, VLLM_ROCM_USE_AITER=1\n",
            "assumed    aiter: yes, flash-attn: no, VLLM_ROCM_USE_AITER: 1\n",
            "cache      blocks of 16 tokens\n",
            "would ask for ROCM_AITER_UNIFIED_ATTN for openai/whisper-tiny\n",
            "encoder self-attention (encoder, head size 64, float16)\n  choice    ROCM_AITER_FA\n",
            "decoder self-attention (full_attention, head size 64, float16)\n  choice    ROCM_AITER_FA\n",
            "  priority  ROCM_AITER_FA, ROCM_AITER_UNIFIED_ATTN, TRITON_ATTN, TURBOQUANT\n",
            "  rejected  TURBOQUANT: kv_cache_dtype not supported\n",
            "decoder cross-attention (cross_attention, head size 64, float16)\n  choice    \
             ROCM_AITER_UNIFIED_ATTN\n",
            "  rejected  ROCM_AITER_FA: attention type AttentionType.ENCODER_DECODER not supported\n",
            "  kernel    none: ROCM_AITER_FA has no kernel in this build\n",
        ],
    );
    assert!(!text.contains("  log "), "{text}");
    let log = Asked {
        log: true,
        ..asked("tiny")
    };
    holds_all(
        &explained(&request, &log).text,
        &[
            "  log       INFO Found incompatible backend(s) [TURBOQUANT] with AttentionType.DECODER. \
           Overriding with ROCM_AITER_FA out of potential backends: ['ROCM_AITER_FA', \
           'ROCM_AITER_UNIFIED_ATTN', 'TRITON_ATTN'].\n",
        ],
    );
}

#[test]
fn every_backend_has_its_reason_and_what_would_change_the_answer_is_said() {
    let text = explained(&mi300x(&[], &[]), &asked("base")).text;
    holds_all(
        &text,
        &[
            "assumed    aiter: no, flash-attn: no, VLLM_ROCM_USE_AITER: unset\n",
            "  unlisted  ROCM_ATTN: rule set 2026-08 drops it for models with cross-attention",
            "  unlisted  ROCM_AITER_UNIFIED_ATTN: the package aiter is not installed\n",
            "  unlisted  ROCM_AITER_FA: the package aiter is not installed, VLLM_ROCM_USE_AITER is not \
             set (1 switches it on)\n",
            "  rejected  FLASH_ATTN: the package flash_attn is not installed\n",
            "  --installed aiter\n    decoder self-attention: ROCM_AITER_UNIFIED_ATTN\n    \
             decoder cross-attention: ROCM_AITER_UNIFIED_ATTN\n",
            "  --installed flash_attn\n    encoder self-attention: FLASH_ATTN\n",
            "  --rules 2026-03\n    decoder self-attention: ROCM_ATTN\n",
        ],
    );
    // Nothing of the platform is left out, in any role, by either set of rules.
    for rules in RuleSet::ALL {
        for (packages, env) in [(&[][..], &[][..]), (&["aiter"], &["VLLM_ROCM_USE_AITER=1"])] {
            let request = Request {
                rules,
                ..mi300x(packages, env)
            };
            let asked = Asked {
                json: true,
                ..asked("base")
            };
            let value: Value = serde_json::from_str(&explained(&request, &asked).text).unwrap();
            for role in value["roles"].as_array().unwrap() {
                for row in crate::attention::vllm::capability::table(rules) {
                    let name = row.name.as_str();
                    let told = role["unlisted"][name]
                        .as_str()
                        .is_some_and(|r| !r.is_empty());
                    let listed = role["priority"].as_array().unwrap().contains(&json!(name));
                    assert!(told != listed, "{rules} {name}: {role:#}");
                }
            }
        }
    }
}

#[test]
fn vllms_own_test_is_asked_by_the_models_name_on_the_hub() {
    let name = |model| {
        let value = explained(
            &mi300x(&[], &[]),
            &Asked {
                json: true,
                ..asked(model)
            },
        );
        let value: Value = serde_json::from_str(&value.text).unwrap();
        value["vllm_test_asks_for"].as_str().unwrap().to_owned()
    };
    let unified = |model: &str| format!("ROCM_AITER_UNIFIED_ATTN for {model}");
    assert_eq!(name("base"), unified("openai/whisper-base"));
    assert_eq!(name("large-v3"), unified("openai/whisper-large-v3"));
    assert_eq!(name("turbo"), unified("openai/whisper-large-v3-turbo"));
    // A folder.
    assert_eq!(name("src"), unified("a whisper of this architecture"));
    let other = name("someone/ears");
    assert!(
        other.starts_with("ROCM_AITER_FA for someone/ears (it goes by the name"),
        "{other}"
    );
}

#[test]
fn what_vllm_would_not_survive_is_said_and_is_a_failure() {
    let explicit = |packages: &[&str], backend: &str| {
        let request = Request {
            backend: Some(backend.to_owned()),
            ..mi300x(packages, &[])
        };
        explained(&request, &asked("base"))
    };
    for (backend, package) in [
        ("ROCM_AITER_UNIFIED_ATTN", "aiter"),
        ("FLASH_ATTN", "flash_attn"),
    ] {
        let without = explicit(&[], backend);
        assert_eq!(without.code, 1, "{}", without.text);
        let words = [
            format!("decoder self-attention   {backend}, which fails later\n"),
            format!("ModuleNotFoundError: the package {package} is not installed\n"),
            format!("not looked at: {backend} was asked for\n"),
        ];
        holds_all(&without.text, &words.each_ref().map(String::as_str));
        let with = explicit(&[package], backend);
        assert_eq!((with.code, with.text.contains("fails")), (0, false));
    }
    let refused = explicit(&["aiter"], "ROCM_AITER_FA");
    assert_eq!(refused.code, 1);
    holds_all(&refused.text, &["decoder cross-attention  refused\n"]);
}

#[test]
fn slips_stand_on_top() {
    let asked = Asked {
        slips: vec!["--arch MI300X: taken as gfx942".to_owned()],
        ..asked("base")
    };
    let text = explained(&mi300x(&[], &[]), &asked).text;
    assert!(
        text.starts_with("warning: --arch MI300X: taken as gfx942\n"),
        "{text}"
    );
}

#[test]
fn explain_as_json() {
    let request = Request {
        backend: Some("rocm_aiter_fa".to_owned()),
        ..mi300x(&["aiter"], &[])
    };
    let as_json = Asked {
        json: true,
        ..Asked::default()
    };
    let value: Value = serde_json::from_str(&explained(&request, &as_json).text).unwrap();
    let [encoder, own, cross] = [0, 1, 2].map(|i| &value["roles"][i]);
    assert_eq!(value["rules"], "2026-08");
    assert_eq!(
        value["vllm_commit"],
        "7ca49fbe4bab019e55d57cdc4b7fd3d55c67c1a6"
    );
    assert_eq!(
        (&encoder["role"], &encoder["choice"]),
        (&json!("encoder"), &json!("TORCH_SDPA"))
    );
    assert_eq!(encoder["kernel"], "CPU_ATTN");
    assert_eq!(own["choice"], "ROCM_AITER_FA");
    assert_eq!(
        own["log"][0]["text"],
        "Using ROCM_AITER_FA backend (selected via --attention-backend)."
    );
    assert_eq!(cross["choice"], Value::Null);
    let reason = "attention type AttentionType.ENCODER_DECODER not supported";
    let rejected = json!([{ "backend": "ROCM_AITER_FA", "reasons": [reason] }]);
    assert_eq!(cross["rejected"], rejected);
    assert!(
        cross["error"]
            .as_str()
            .unwrap()
            .starts_with("Selected backend AttentionBackendEnum.")
    );
}

#[test]
fn explain_on_the_cpu() {
    let request = Request {
        backend: Some("naive".to_owned()),
        ..Request::default()
    };
    let text = explained(&request, &Asked::default()).text;
    assert_eq!(
        text.matches("choice    NAIVE\n  vLLM      CPU_ATTN\n")
            .count(),
        3,
        "{text}"
    );
    assert_eq!(text.matches("kernel    NAIVE\n").count(), 3, "{text}");
    let unknown = Request {
        backend: Some("nope".to_owned()),
        ..Request::default()
    };
    assert!(explain(&unknown, &registry(), &dims(), &Asked::default()).is_err());
}

#[test]
fn the_table() {
    let text = list(&registry(), false).text;
    let (newer, older) = (text.find("rule set 2026-08"), text.find("rule set 2026-03"));
    assert!(newer.is_some() && newer < older, "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(
        widest.is_some_and(|width| width <= 100),
        "{widest:?}\n{text}"
    );
    let value: Value = serde_json::from_str(&list(&registry(), true).text).unwrap();
    let of_august = value["rule_sets"]["2026-08"]["backends"]
        .as_array()
        .unwrap();
    assert_eq!(of_august.len(), 11);
    assert_eq!(of_august[1]["head sizes"], "64 128 256");
    let row = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(text.contains("64 128 256"), "{text}");
    let kernels: Vec<String> = row("NAIVE").split_whitespace().map(str::to_owned).collect();
    assert_eq!(kernels, ["NAIVE", "f32", "f32", "f32"]);
    assert!(text.ends_with("TORCH_SDPA is served by CPU_ATTN's kernel.\n"));
}

#[test]
fn checking_a_file() {
    let good = "P001 gfx90a n 1 - y DEC f16 64 auto - - - RA RA,TA -\n";
    assert_eq!(
        check(good),
        Outcome {
            text: "1 rows, 0 mismatches\n".to_owned(),
            code: 0
        }
    );
    let bad = check(&good.replace("RA,TA", "TA"));
    assert_eq!(bad.code, 1);
    let text = "P001: valid expected TA, got RA,TA\n1 rows, 1 mismatches\n";
    assert_eq!(bad.text, text);
    assert_eq!(check("# nothing\n").code, 1);
}
