//! What vLLM's ROCm rules choose, computed: the same words by every legal plan, and the rules' own
//! refusals where there is none.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use undertone::attention::{Dtype, Machine, Platform, Registry, Request, Role, RuleSet, plan};
use undertone::internals::attention::built_in;
use undertone::internals::kernels::Cpu;
use undertone::internals::mel::log_mel_of_clip;
use undertone::weights::hub;
use undertone::{ComputeType, Engine, Task, TranscribeOptions};

use crate::support;

const MI300X: &str = "gfx942:sramecc+:xnack-";
const AITER_ON: &[&str] = &["aiter", "VLLM_ROCM_USE_AITER=1"];

/// A ROCm machine; settings with `=` are variables, the others packages.
fn rocm(arch: &str, settings: &[&str]) -> Machine {
    let mut machine = Machine {
        platform: Platform::Rocm,
        arch: Some(arch.to_owned()),
        ..Machine::default()
    };
    for setting in settings {
        match setting.split_once('=') {
            Some((name, value)) => {
                machine.env.insert(name.to_owned(), value.to_owned());
            }
            None => {
                machine.installed.insert((*setting).to_owned());
            }
        }
    }
    machine
}

/// One way to run Whisper that the rules allow, and the backends of its three roles.
struct Case {
    rules: RuleSet,
    settings: &'static [&'static str],
    backend: Option<&'static str>,
    encoder: Option<&'static str>,
    dtype: Dtype,
    expected: [&'static str; 3],
}

const fn auto(
    rules: RuleSet,
    settings: &'static [&'static str],
    expected: [&'static str; 3],
) -> Case {
    Case {
        rules,
        settings,
        backend: None,
        encoder: None,
        dtype: Dtype::F16,
        expected,
    }
}

const P: RuleSet = RuleSet::March2026;
const A: RuleSet = RuleSet::August2026;
const FA: &str = "ROCM_AITER_FA";
const UNIFIED: &str = "ROCM_AITER_UNIFIED_ATTN";
const TRITON: &str = "TRITON_ATTN";
const ROCM: &str = "ROCM_ATTN";
const FLASH: &str = "FLASH_ATTN";
/// Serves `TORCH_SDPA`.
const SDPA: &str = "CPU_ATTN";

/// Every combination of backends that the rules give Whisper by themselves (a test below holds that), and
/// enough of what can be asked for that each backend has served each role that it may.
const PLANS: [Case; 14] = [
    auto(P, &[], [SDPA, ROCM, TRITON]),
    auto(P, &["aiter"], [SDPA, ROCM, UNIFIED]),
    auto(P, AITER_ON, [FA, ROCM, UNIFIED]),
    auto(P, &["flash_attn"], [FLASH, ROCM, TRITON]),
    auto(P, &["flash_attn", "aiter"], [FLASH, ROCM, UNIFIED]),
    auto(A, &[], [SDPA, TRITON, TRITON]),
    auto(A, &["aiter"], [SDPA, UNIFIED, UNIFIED]),
    auto(A, AITER_ON, [FA, FA, UNIFIED]),
    auto(A, &["flash_attn"], [FLASH, TRITON, TRITON]),
    auto(A, &["flash_attn", "aiter"], [FLASH, UNIFIED, UNIFIED]),
    Case {
        backend: Some("TRITON_ATTN"),
        encoder: Some("encoder=TRITON_ATTN"),
        ..auto(A, AITER_ON, [TRITON, TRITON, TRITON])
    },
    Case {
        backend: Some("flash_attn"),
        ..auto(A, AITER_ON, [FA, FLASH, FLASH])
    },
    Case {
        dtype: Dtype::Bf16,
        ..auto(A, AITER_ON, [FA, FA, UNIFIED])
    },
    Case {
        dtype: Dtype::F32,
        ..auto(P, &["aiter"], [SDPA, ROCM, UNIFIED])
    },
];

impl Case {
    fn request(&self) -> Request {
        Request {
            rules: self.rules,
            machine: rocm(MI300X, self.settings),
            backend: self.backend.map(str::to_owned),
            backend_for: self.encoder.map(str::to_owned).into_iter().collect(),
            dtype: Some(self.dtype),
            ..Request::default()
        }
    }

    /// An engine that computes so, its plan checked.
    fn engine(&self) -> Engine {
        let engine = Engine::builder()
            .model("base")
            .hub(support::hub())
            .compute_type(ComputeType::F32)
            .attention(self.request())
            .without_packed_copies()
            .build()
            .unwrap();
        let plan = engine.plan();
        assert_eq!(
            Role::ALL.map(|role| plan.backend(role).name()),
            self.expected
        );
        engine
    }
}

fn options(language: &str, task: Task) -> TranscribeOptions {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some(language.into());
    options.decoding.task = task;
    options.gates = support::no_gates();
    options
}

fn tokens(engine: &Engine, path: &Path, language: &str) -> Vec<u32> {
    let result = engine.transcribe(path, &options(language, Task::Transcribe));
    let segments = result.unwrap().segments;
    segments.into_iter().flat_map(|s| s.tokens).collect()
}

const FILES: [(&str, &str); 12] = [
    ("LJ001-0001.flac", "en"),
    ("LJ001-0002.flac", "en"),
    ("az_weather.flac", "en"),
    ("harvard.flac", "en"),
    ("jfk.flac", "en"),
    ("leopard_de.flac", "de"),
    ("leopard_en.flac", "en"),
    ("leopard_es.flac", "es"),
    ("leopard_fr.flac", "fr"),
    ("sb_spk1_snt1.flac", "en"),
    ("vctk_p225_003.flac", "en"),
    ("vctk_p226_003.flac", "en"),
];

/// How far apart two tokens' logits are behind a beginning of the file's first window.
fn gap(engine: &Engine, path: &Path, language: &str, before: &[u32], pair: [u32; 2]) -> f32 {
    let network = &**engine.network();
    let limits = undertone::internals::audio::Limits::default();
    let input = undertone::Input::from(path);
    let mut stream = undertone::internals::audio::open(input, &limits).unwrap();
    let mut samples = Vec::new();
    while let Some(block) = stream.next_block().unwrap() {
        samples.extend_from_slice(block);
    }
    let mel = log_mel_of_clip(&samples, network.dims().n_mels).unwrap();
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let mut tokens = engine
        .tokenizer()
        .sot_sequence(Some(language), Task::Transcribe, false);
    tokens.extend(before);
    let mut text = network.text_state(1).unwrap();
    let logits = support::last_logits(network, &audio[0], &mut text, &tokens);
    (logits[pair[0] as usize] - logits[pair[1] as usize]).abs()
}

/// A difference between two runs of a file, with the gap between the two tokens in f32.
fn difference(engine: &Engine, path: &Path, language: &str, want: &[u32], got: &[u32]) -> f32 {
    let at = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let end = engine.tokenizer().eot();
    let pair = [want, got].map(|tokens| tokens.get(at).copied().unwrap_or(end));
    let gap = gap(engine, path, language, &want[..at], pair);
    eprintln!(
        "{}: token {at} of {}: {pair:?}, logits {gap:.3} apart",
        path.display(),
        want.len()
    );
    gap
}

fn plans_agree(plans: &[Case]) {
    let (Some(folder), Some(default)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    let path = |file: &str| folder.join("audio").join(file);
    let wanted = FILES.map(|(file, language)| tokens(default, &path(file), language));
    let mut failures = Vec::new();
    for case in plans {
        let engine = case.engine();
        let mut differing = 0;
        for ((file, language), want) in FILES.iter().zip(&wanted) {
            let got = tokens(&engine, &path(file), language);
            if got == *want {
                continue;
            }
            differing += 1;
            let gap = difference(default, &path(file), language, want, &got);
            if gap > 0.1 {
                failures.push(format!("{:?} {file}: no near-tie, {gap}", case.expected));
            }
        }
        eprintln!(
            "{} {:?} {}: {differing} of 12 differ",
            case.rules, case.expected, case.dtype
        );
        if differing > 1 {
            failures.push(format!(
                "{:?} {}: {differing} files",
                case.expected, case.dtype
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Three plans in which every backend has a part; all of them are in the ignored test below.
#[test]
fn plans_with_every_backend_give_the_same_words() {
    plans_agree(&[
        auto(P, &["flash_attn"], [FLASH, ROCM, TRITON]),
        auto(A, AITER_ON, [FA, FA, UNIFIED]),
        auto(A, &["aiter"], [SDPA, UNIFIED, UNIFIED]),
    ]);
}

#[test]
#[ignore = "takes some minutes: fourteen plans"]
fn every_legal_plan_gives_the_same_words() {
    plans_agree(&PLANS);
}

/// Every set of yes-or-no answers, as the parts of it that are yes.
fn subsets<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    let with = |mask: usize| (0..of.len()).filter(move |i| mask >> i & 1 == 1);
    (0..1 << of.len())
        .map(|mask| with(mask).map(|i| of[i]).collect())
        .collect()
}

#[test]
fn no_choice_of_the_rules_is_missing_from_the_plans() {
    const GPUS: [&str; 8] = [
        "gfx906", "gfx90a", MI300X, "gfx950", "gfx1030", "gfx1100", "gfx1201", "gfx1250",
    ];
    const SETTINGS: [&str; 6] = [
        "aiter",
        "flash_attn",
        "flash_attn.flash_attn_triton_amd",
        "FLASH_ATTENTION_TRITON_AMD_ENABLE=TRUE",
        "VLLM_ROCM_USE_AITER=1",
        "VLLM_ROCM_USE_AITER_MHA=0",
    ];
    let registry = Registry::new(built_in(&Cpu::new(Some(1), None)));
    let dims = hub::find("base").unwrap().dims();
    let (mut chosen, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (arch, settings) in GPUS
        .iter()
        .flat_map(|arch| subsets(&SETTINGS).into_iter().map(move |s| (*arch, s)))
    {
        for (rules, dtype) in [P, A]
            .into_iter()
            .flat_map(|rules| [Dtype::F16, Dtype::Bf16, Dtype::F32].map(|dtype| (rules, dtype)))
        {
            let request = Request {
                rules,
                machine: rocm(arch, &settings),
                dtype: Some(dtype),
                ..Request::default()
            };
            match plan(&request, &registry, &dims) {
                Ok(plan) => {
                    let names = Role::ALL.map(|role| plan.backend(role).name().to_owned());
                    chosen.insert(names);
                }
                Err(error) => {
                    refused.insert((dtype.name(), error.to_string().contains("ROCM_AITER_FA")));
                }
            }
        }
    }
    let known: BTreeSet<_> = PLANS
        .iter()
        .map(|case| case.expected.map(str::to_owned))
        .collect();
    let missing: Vec<_> = chosen.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // The encoder's chooser takes ROCM_AITER_FA for float32 too, which it does not compute.
    assert_eq!(refused, BTreeSet::from([("float32", true)]));
}

#[test]
fn a_simulated_mi300x_translates() {
    let Some(folder) = support::reference() else {
        return;
    };
    if support::engine("base", ComputeType::F32).is_none() {
        return;
    }
    let files = [
        (
            "az_de_testi_audio.flac",
            "de",
            "As soon as the test is completed",
        ),
        ("leopard_es.flac", "es", ""),
    ];
    let mut failures = Vec::new();
    let aiter = |case: &&Case| case.settings == AITER_ON && case.backend.is_none();
    for case in PLANS.iter().filter(aiter).filter(|c| c.dtype == Dtype::F16) {
        let engine = case.engine();
        for (file, language, words) in files {
            let path = folder.join("audio").join(file);
            let result = engine
                .translate(&*path, &options(language, Task::Translate))
                .unwrap();
            let got: Vec<u32> = result
                .segments
                .iter()
                .flat_map(|s| s.tokens.clone())
                .collect();
            let stored = folder.join(format!("reference/{file}.base.json"));
            let stored: serde_json::Value =
                serde_json::from_slice(&std::fs::read(stored).unwrap()).unwrap();
            let segments = stored["translate"]["segments"].as_array().unwrap().iter();
            let want: Vec<u32> = segments
                .flat_map(|s| s["tokens"].as_array().unwrap())
                .map(|token| u32::try_from(token.as_u64().unwrap()).unwrap())
                .collect();
            eprintln!("{} {file}: {}", case.rules, result.text);
            if got != want || !result.text.contains(words) {
                failures.push(format!("{} {file}: {}", case.rules, result.text));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "differing from openai/whisper:\n{}",
        failures.join("\n")
    );
}

/// What a command line says on stderr, and its exit code. No audio file is there to be read.
fn refused(arguments: &str) -> (String, Option<i32>) {
    let pico = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pico");
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args(["transcribe", "-", "--model"])
        .arg(pico)
        .args(["--platform", "rocm"])
        .args(arguments.split_whitespace())
        // Empty, which is seen when it is read; a file would be looked at before the model.
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    (
        String::from_utf8(output.stderr).unwrap(),
        output.status.code(),
    )
}

/// Options, and what is said to them.
const REFUSALS: [(&str, &str); 9] = [
    (
        "--arch gfx942:sramecc+:xnack- --attention-backend ROCM_AITER_FA",
        "attention type AttentionType.ENCODER_DECODER not supported",
    ),
    (
        "--arch gfx942:sramecc+:xnack- --attention-backend rocm_attn",
        "attention type AttentionType.ENCODER_DECODER not supported",
    ),
    (
        "--arch gfx942:sramecc+:xnack- --attention-backend FLEX_ATTENTION",
        "attention type AttentionType.ENCODER_DECODER not supported",
    ),
    (
        "--arch gfx1100 --attention-backend ROCM_AITER_FA",
        "['compute capability not supported', 'attention type AttentionType.ENCODER_DECODER not \
         supported']",
    ),
    (
        "--arch gfx1250 --rules 2026-03 --attention-backend ROCM_AITER_FA",
        "decoder self-attention: Selected backend AttentionBackendEnum.ROCM_AITER_FA is not valid \
         for this configuration. Reason: ['compute capability not supported']",
    ),
    (
        "--arch gfx942 --attention-backend ROCM_AITER_UNIFIED_ATTN --dtype f32",
        "Selected backend AttentionBackendEnum.ROCM_AITER_UNIFIED_ATTN is not valid for this \
         configuration. Reason: ['dtype not supported']",
    ),
    (
        "--arch gfx942 --attention-backend FLASHINFER",
        "['ImportError']",
    ),
    (
        "--arch gfx942 --attention-backend-for encoder=ROCM_ATTN",
        "Backend AttentionBackendEnum.ROCM_ATTN is not supported for vit attention",
    ),
    (
        "--arch gfx942 --env HIP_VISIBLE_DEVICES=0 --env CUDA_VISIBLE_DEVICES=1",
        "Inconsistent GPU visibility env vars: HIP_VISIBLE_DEVICES='0' vs \
         CUDA_VISIBLE_DEVICES='1'. Please set only one, or ensure they match.",
    ),
];

#[test]
fn refusals_come_before_any_audio_is_read() {
    let mut failures = Vec::new();
    for (arguments, words) in REFUSALS {
        let (text, code) = refused(arguments);
        if !text.contains(words) || text.contains("it is empty") || code != Some(1) {
            failures.push(format!("{arguments:?}: {code:?} {text}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // What is not refused gets as far as the empty input, and says who computes.
    let (text, _) = refused(&format!("--arch {MI300X} --attention-backend TRITON_ATTN"));
    let note = "attention backends are those of rocm gfx942:sramecc+:xnack- under rule set \
                2026-08; the CPU computes them";
    assert!(
        text.contains(note) && text.contains("it is empty"),
        "{text}"
    );
}
