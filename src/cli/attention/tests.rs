use std::sync::Arc;

use super::*;
use crate::attention::{Attended, AttentionBackend, AttentionCall, Objection};

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

fn mi300x(env: &[&str]) -> Request {
    let env: Vec<String> = env.iter().map(|e| (*e).to_owned()).collect();
    let arch = Some("gfx942:sramecc+:xnack-");
    let machine = machine(Some("ROCm"), arch, true, &[], &env).unwrap();
    Request {
        machine,
        ..Request::default()
    }
}

#[test]
fn machines_as_typed() {
    let some = |platform, arch, aiter| machine(platform, arch, aiter, &[], &[]).unwrap().platform;
    assert_eq!(some(None, None, false), Platform::Cpu);
    assert_eq!(some(Some("auto"), None, false), Platform::Cpu);
    assert_eq!(some(None, Some("gfx942"), true), Platform::Rocm);
    assert_eq!(some(Some("auto"), Some("sm_90"), false), Platform::Cuda);
    let installed = ["flash_attn".to_owned(), " aiter ".to_owned(), String::new()];
    let env = ["A=b=c".to_owned(), "D=".to_owned()];
    let read = machine(Some("rocm"), Some("gfx942"), false, &installed, &env).unwrap();
    assert_eq!(read.installed.len(), 2);
    assert_eq!((read.env("A"), read.env("D")), (Some("b=c"), Some("")));
    assert!(read.has_module("aiter"));
    let bad = [
        machine(Some("tpu"), None, false, &[], &[]),
        machine(Some("cpu"), Some("gfx942"), false, &[], &[]),
        machine(None, None, true, &[], &[]),
        machine(Some("rocm"), Some("gfx942"), false, &[], &["A".to_owned()]),
    ];
    for machine in bad {
        assert!(matches!(machine, Err(Error::Option { .. })), "{machine:?}");
    }
}

#[test]
fn explain_in_words() {
    let request = mi300x(&["VLLM_ROCM_USE_AITER=1"]);
    let outcome = explain(
        &request,
        &registry(),
        &dims(),
        Some("openai/whisper-tiny"),
        false,
    );
    let Outcome { text, code } = outcome.unwrap();
    assert_eq!(code, 0);
    let expected = [
        "rule set   2026-08\n",
        "platform   rocm gfx942:sramecc+:xnack-, installed aiter, VLLM_ROCM_USE_AITER=1\n",
        "encoder self-attention (encoder, head size 64, float16)\n  choice    ROCM_AITER_FA\n",
        "decoder self-attention (full_attention, head size 64, float16)\n  choice    ROCM_AITER_FA\n",
        "  priority  ROCM_AITER_FA, ROCM_AITER_UNIFIED_ATTN, TRITON_ATTN, TURBOQUANT\n",
        "  rejected  TURBOQUANT: kv_cache_dtype not supported\n",
        "decoder cross-attention (cross_attention, head size 64, float16)\n  choice    \
         ROCM_AITER_UNIFIED_ATTN\n",
        "  rejected  ROCM_AITER_FA: attention type AttentionType.ENCODER_DECODER not supported\n",
        "  log       INFO Found incompatible backend(s) [TURBOQUANT] with AttentionType.DECODER. \
         Overriding with ROCM_AITER_FA out of potential backends: ['ROCM_AITER_FA', \
         'ROCM_AITER_UNIFIED_ATTN', 'TRITON_ATTN'].\n",
        "  kernel    none: ROCM_AITER_FA has no kernel in this build\n",
        "block size of the cache  16\n",
        "vLLM's own test would ask for  ROCM_AITER_UNIFIED_ATTN\n",
    ];
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn explain_as_json() {
    let request = Request {
        backend: Some("rocm_aiter_fa".to_owned()),
        ..mi300x(&[])
    };
    let text = explain(&request, &registry(), &dims(), None, true)
        .unwrap()
        .text;
    let value: Value = serde_json::from_str(&text).unwrap();
    let [encoder, own, cross] = [0, 1, 2].map(|i| &value["roles"][i]);
    assert_eq!(value["rules"], "2026-08");
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
    let text = explain(&request, &registry(), &dims(), None, false)
        .unwrap()
        .text;
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
    assert!(explain(&unknown, &registry(), &dims(), None, false).is_err());
}

#[test]
fn the_table() {
    let text = list(&registry()).text;
    assert!(text.contains("rule set 2026-03") && text.contains("rule set 2026-08"));
    let row = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(row("ROCM_AITER_FA ").contains("64 128 256"));
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
