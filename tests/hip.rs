//! AMD's cards as a user meets them, on a HIP runtime of this machine's own making: the program opens it as it opens
//! AMD's, hands it the shipped code objects, and it runs their kernels on the emulator (`gpu/hip_runtime.cpp`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use undertone::internals::device::{Api, Card};

use crate::gpu::compiler;
use crate::support::skipped;
use crate::tidy::root;

/// The folder that the runtime was compiled into.
fn runtime() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let compiler = compiler()?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hip_runtime");
        fs::create_dir_all(&folder).unwrap();
        let compiled = Command::new(compiler)
            .args(["-std=c++17", "-O2", "-fno-strict-aliasing"])
            .args([
                "-U_FORTIFY_SOURCE",
                "-Wall",
                "-Werror",
                "-Wno-unknown-pragmas",
            ])
            .args(["-Wno-unused-function", "-shared", "-fPIC"])
            .arg(root().join("tests/gpu/hip_runtime.cpp"))
            .arg("-o")
            .arg(folder.join("libamdhip64.so.6"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        Some(folder)
    });
    made.as_deref()
}

/// The program on a machine with these cards, and the runtime's notes.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        runtime().map(|_| Self {
            folder: tempfile::tempdir().unwrap(),
        })
    }

    fn run(&self, machine: &str, line: &str) -> Output {
        let _ = fs::remove_file(self.folder.path().join("log"));
        let pico = root().join("models/pico");
        Command::new(env!("CARGO_BIN_EXE_undertone"))
            .args(
                line.replace("PICO", &pico.display().to_string())
                    .split_whitespace(),
            )
            .current_dir(root())
            .env("LD_LIBRARY_PATH", runtime().unwrap())
            .env("FAKE_HIP", machine)
            .env("FAKE_HIP_LOG", self.folder.path().join("log"))
            .env("XDG_CACHE_HOME", self.folder.path().join(".cache"))
            .env("XDG_CONFIG_HOME", self.folder.path().join(".config"))
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What the runtime was asked for in the last run.
    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The tokens of a few words, and what was said beside them.
    fn tokens(&self, machine: &str, device: &str) -> (serde_json::Value, String) {
        let out = self.folder.path().join("out");
        let line = format!(
            "{CLIP} -m PICO --language fr --sample_len 6 --beam_size 1 \
             --temperature_increment_on_fallback none -f json -o {} --device {device}",
            out.display()
        );
        let output = self.run(machine, &line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{device}: {said}");
        let text = fs::read(out.join("fr_bonjour_monde.json")).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let segments = read["segments"].as_array().unwrap().iter();
        (
            segments.map(|segment| segment["tokens"].clone()).collect(),
            said,
        )
    }
}

const CLIP: &str = "examples/audio/fr_bonjour_monde.wav";
const NO_COMPILER: &str = "there is no C++ compiler to make a HIP runtime with";

#[test]
fn the_shipped_kernels_give_the_cpus_tokens_through_hips_calls() {
    let Some(machine) = Machine::new() else {
        return skipped(NO_COMPILER);
    };
    let (expected, _) = machine.tokens("", "cpu");
    assert_eq!(machine.calls(), "");
    for (cards, device) in [
        ("chip=gfx90a:sramecc+:xnack-", "rocm"),
        ("cards=2", "rocm:1,0"),
    ] {
        let (tokens, said) = machine.tokens(cards, device);
        assert_eq!(tokens, expected, "{device}");
        assert!(said.contains("HIP_PLAIN computes them"), "{said}");
        let calls = machine.calls();
        assert!(calls.contains("launch plain_attention 1 1 1\n"), "{calls}");
    }
}

#[test]
fn auto_takes_amds_card_where_there_is_none_of_nvidias() {
    let Some(machine) = Machine::new() else {
        return skipped(NO_COMPILER);
    };
    if Card::list(Api::Cuda).is_ok_and(|cards| !cards.is_empty()) {
        return skipped("there is a card of NVIDIA's, which goes first");
    }
    let (_, said) = machine.tokens("", "auto");
    assert!(said.contains("computes on rocm:0: AMD Emulated"), "{said}");
    assert!(machine.calls().contains("launch plain_gemm"));
    // Left to the CPU: what the card has no kernels for.
    for (cards, option) in [("chip=gfx1100", ""), ("", " --compute-type int8")] {
        let (_, said) = machine.tokens(cards, &format!("auto{option}"));
        assert!(!machine.calls().contains("launch"), "{option}: {said}");
        let told = said.contains("computes on the CPU: rocm:0: AMD Emulated (gfx1100)");
        assert_eq!(told, option.is_empty(), "{said}");
    }
}

/// Machine, options, and what is said before anything is loaded.
const FAULTS: [(&str, &str, &str); 12] = [
    (
        "version=50221153",
        "",
        "rocm: the runtime is HIP 5.2; HIP 6.0 or later is needed",
    ),
    ("cards=0", "", "rocm:0: the runtime knows 0 cards"),
    ("", "rocm:3", "rocm:3: the runtime knows 1 card"),
    (
        "chip=gfx1100",
        "",
        "rocm:0: AMD Emulated (gfx1100): there are kernels for gfx90a, gfx942",
    ),
    ("chip=?", "", "the runtime does not say which chip it is"),
    ("memory=50000000", "", "rocm:0: the model needs"),
    (
        "",
        "rocm --compute-type f16",
        "the kernels for AMD's GPUs compute in f32; there are none in f16",
    ),
    (
        "",
        "rocm --compute-type int8_float16",
        "there are none in int8_float16",
    ),
    ("", "rocm --compute-type int8", "int8 is for the CPU"),
    (
        "",
        "rocm --aiter --attention-backend ROCM_AITER_FA",
        "attention type AttentionType.ENCODER_DECODER not supported",
    ),
    (
        "chip=gfx90a",
        "rocm --attention-backend ROCM_AITER_FA",
        "compute capability not supported",
    ),
    (
        "",
        "rocm --arch gfx90a",
        "gfx90a: the card rocm:0 is AMD's, gfx942",
    ),
];

#[test]
fn what_is_missing_is_said_before_anything_is_loaded() {
    let Some(machine) = Machine::new() else {
        return skipped(NO_COMPILER);
    };
    for (cards, options, said) in FAULTS {
        let device = if options.is_empty() { "rocm" } else { options };
        let output = machine.run(cards, &format!("{CLIP} -m PICO --device {device}"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(said), "{cards} {options}: {told}");
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{cards} {options}"
        );
        let calls = machine.calls();
        let loading = ["malloc", "launch"].map(|call| calls.contains(call));
        assert_eq!(loading, [false; 2], "{cards} {options}: {calls}");
    }
}

#[test]
fn without_the_runtime_its_name_is_said() {
    if Card::list(Api::Rocm).is_ok() {
        return skipped("AMD's HIP runtime is installed here");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .args([CLIP, "--device", "rocm", "-m"])
        .arg(root().join("models/pico"))
        .current_dir(root())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("AMD's HIP runtime is not installed"),
        "{told}"
    );
    assert!(!output.status.success());
}

#[test]
fn a_card_that_is_lost_ends_the_run_with_its_name() {
    let Some(machine) = Machine::new() else {
        return skipped(NO_COMPILER);
    };
    let line = format!("{CLIP} -m PICO --device rocm --language fr --sample_len 6 --beam_size 1");
    // In the encoder, and in a step.
    for launches in [5, 40] {
        let output = machine.run(&format!("launches={launches}"), &line);
        let told = String::from_utf8(output.stderr).unwrap();
        let said = "unspecified launch failure (hipErrorLaunchFailure)";
        assert!(
            told.contains("rocm:0") && told.contains(said),
            "{launches}: {told}"
        );
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{launches}"
        );
    }
}

#[test]
fn doctor_names_the_card_and_what_the_rules_choose_for_it() {
    let Some(machine) = Machine::new() else {
        return skipped(NO_COMPILER);
    };
    let told = |cards: &str, options: &str| {
        let output = machine.run(cards, &format!("doctor -m tiny.en --device rocm {options}"));
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = told("", "");
    for part in [
        "rocm:0: AMD Emulated, gfx942:sramecc+:xnack-, 8.0 GiB, driver for HIP 6.2; there are kernels",
        "computes on      rocm:0",
        "encoder self-attention: TORCH_SDPA (HIP_PLAIN)",
        "decoder cross-attention: TRITON_ATTN (HIP_PLAIN)",
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    let aiter = told("", "--aiter --rules 2026-03");
    assert!(
        aiter.contains("decoder self-attention: ROCM_ATTN (HIP_PLAIN)"),
        "{aiter}"
    );
    let cross = "decoder cross-attention: ROCM_AITER_UNIFIED_ATTN (HIP_PLAIN)";
    assert!(aiter.contains(cross), "{aiter}");
    let other = told("chip=gfx1100", "");
    assert!(
        other.contains("computes on      nothing") && other.contains("not ready"),
        "{other}"
    );
}
