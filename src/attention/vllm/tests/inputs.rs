//! Arch strings, capabilities, environment variables.

use super::*;
use crate::attention::vllm::arch::Arch;
use crate::attention::vllm::env::{
    CUDA_VISIBLE_DEPRECATED, batch_invariant, flag, sync_visibility,
};
use crate::attention::vllm::rocm::Gates;

/// gfx9, mi3xx, gfx1x in March; cdna, its version, rdna, rdna4 in August; AITER in each.
struct Family(
    &'static [&'static str],
    [bool; 3],
    (bool, u32, bool, bool),
    [bool; 2],
);

#[test]
fn families() {
    let (y, n) = (true, false);
    let table = [
        Family(
            &["gfx906", "gfx908", "gfx940", "gfx941"],
            [n, n, n],
            (y, 0, n, n),
            [n, n],
        ),
        Family(&["gfx90a"], [y, n, n], (y, 2, n, n), [n, n]),
        Family(&["gfx942"], [y, y, n], (y, 3, n, n), [y, y]),
        Family(&["gfx950"], [y, y, n], (y, 4, n, n), [y, y]),
        Family(&["gfx1030"], [n, n, n], (n, 0, n, n), [n, n]),
        Family(&["gfx1100", "gfx1151"], [n, n, y], (n, 0, y, n), [n, n]),
        Family(&["gfx1200", "gfx1201"], [n, n, y], (n, 0, y, y), [n, n]),
        Family(&["gfx1250"], [n, n, y], (y, 5, n, n), [n, y]),
        Family(&["gfx9420"], [y, y, n], (y, 3, n, n), [y, y]),
    ];
    let mut failures = Vec::new();
    for Family(archs, march, august, aiter) in table {
        for bare in archs {
            for arch in [(*bare).to_owned(), format!("{bare}:sramecc+:xnack-")] {
                let a = Arch(&arch);
                let got_march = [a.on_gfx9(), a.on_mi3xx(), a.on_gfx1x(P)];
                let got_august = (a.on_cdna(), a.cdna_version(), a.on_rdna(), a.on_rdna4());
                let got_aiter = [P, A]
                    .map(|rules| Gates::of(rules, &rocm_machine(&arch, &["aiter"])).supported);
                let got = (got_march, got_august, got_aiter);
                if got != (march, august, aiter) || a.on_gfx1x(A) != a.on_rdna() {
                    failures.push(format!("{arch}: {got:?}"));
                }
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn capabilities() {
    let table: &[(&[&str], &str)] = &[
        (&["gfx90a", "gfx90a:sramecc+:xnack-"], "9.0"),
        (&["gfx900", "gfx906", "gfx908", "gfx90c"], "9.0"),
        (&["gfx942", "gfx942:sramecc+:xnack-"], "9.4"),
        (&["gfx950"], "9.5"),
        (&["gfx1030"], "10.3"),
        (&["gfx1100", "gfx1101"], "11.0"),
        (&["gfx1150", "gfx1151"], "11.5"),
        (&["gfx1200", "gfx1201"], "12.0"),
        (&["gfx1250"], "12.5"),
        (&["gfx99"], "9.9"),
        (&["gfx0942"], "9.4"),
        (&["gfx942gfx"], "9.4"),
        (&["", "gfx", "gfxabc", "sm_90", "GFX942", " gfx942"], "None"),
        (
            &["gfx9", "gfx9-generic", "gfx9-4-generic"],
            "GCN arch '{}' has too few digits (1) after 'gfx' to derive a (major, minor) \
             capability. Please file a vLLM issue with your GPU model.",
        ),
        (
            &["gfx12000"],
            "GCN arch '{}' has 5 digits after 'gfx', which exceeds the known 4-digit layout \
             (MMms). Cannot determine major/minor split unambiguously. Please file a vLLM issue \
             with your GPU model.",
        ),
        (&["gfx803"], &low("8", "0")),
        (&["gfx10-3-generic"], &low("1", "0")),
        (&["gfx11-generic"], &low("1", "1")),
        (&["gfx12-generic"], &low("1", "2")),
        (
            &["gfx1301"],
            "Parsed unknown ROCm architecture from GCN arch '{}': major=13, minor=0. Major \
             version > 12 is beyond currently known AMD generations. Please file a vLLM issue \
             with your GPU model so support can be added.",
        ),
    ];
    let mut failures = Vec::new();
    for (archs, expected) in table {
        for arch in *archs {
            let got = match Arch(arch).capability() {
                Ok(None) => "None".to_owned(),
                Ok(Some((major, minor))) => format!("{major}.{minor}"),
                Err(error) => error.to_string(),
            };
            if got != expected.replace("{}", arch) {
                failures.push(format!("{arch:?}: {got}"));
            }
        }
    }
    none_failed(&failures);
}

fn low(major: &str, minor: &str) -> String {
    format!(
        "Parsed unknown ROCm architecture from GCN arch '{{}}': major={major}, minor={minor}. \
         Major version < 9 is not expected for any supported AMD GPU. Please file a vLLM issue \
         with your GPU model."
    )
}

#[test]
fn a_bad_arch_is_an_error_only_where_the_capability_is_asked_for() {
    let machine = rocm_machine("gfx803", &[]);
    let query = AttentionQuery::new(AttentionType::Decoder, 64, Dtype::F16);
    let answer = select(A, &machine, ModelKind::Decoder, None, &query);
    assert!(outcome(answer).starts_with("Parsed unknown ROCm architecture"));
    let encoder = crate::attention::vllm::encoder::select_encoder(A, &machine, None, &query);
    assert_eq!(outcome(encoder), "TORCH_SDPA");
    // No gfx arch at all: vLLM warns, asks torch and goes on.
    let machine = rocm_machine("GFX942", &[]);
    let selection = select(A, &machine, ModelKind::Decoder, None, &query).unwrap();
    assert_eq!(
        selection.log(A, &machine, &query)[0].to_string(),
        "WARNING Could not derive device capability from GCN arch 'GFX942', falling back to \
         torch.cuda (this will initialize CUDA)."
    );
}

#[test]
fn booleans() {
    let table = [
        (Some("1"), true),
        (Some("true"), true),
        (Some("True"), true),
        (Some("TRUE"), true),
        (Some("0"), false),
        (Some("false"), false),
        (Some("yes"), false),
        (Some("on"), false),
        (Some("2"), false),
        (Some(" 1"), false),
        (Some(""), false),
    ];
    let mut failures = Vec::new();
    for (value, expected) in table {
        let mut machine = Machine::default();
        machine
            .env
            .extend(value.map(|v| ("X".to_owned(), v.to_owned())));
        if [false, true].map(|default| flag(&machine, "X", default)) != [expected; 2] {
            failures.push(format!("{value:?}"));
        }
    }
    none_failed(&failures);
    assert_eq!(
        [false, true].map(|d| flag(&Machine::default(), "X", d)),
        [false, true]
    );
}

#[test]
fn batch_invariance_is_a_number() {
    let table = [
        ("0", Ok(false)),
        ("1", Ok(true)),
        (" 2 ", Ok(true)),
        ("-1", Ok(true)),
        ("+0_0", Ok(false)),
        ("99999999999999999999", Ok(true)),
    ];
    for (value, expected) in table {
        let machine = rocm_machine("gfx942", &[&format!("VLLM_BATCH_INVARIANT={value}")]);
        assert_eq!(
            batch_invariant(&machine).map_err(|e| e.to_string()),
            expected,
            "{value}"
        );
    }
    for value in ["true", "", "-", "1_", "1__0", "0x1", "- 1"] {
        let machine = rocm_machine("gfx942", &[&format!("VLLM_BATCH_INVARIANT={value}")]);
        assert_eq!(
            batch_invariant(&machine).unwrap_err().to_string(),
            format!("VLLM_BATCH_INVARIANT: invalid literal for int() with base 10: '{value}'")
        );
    }
}

/// Both variables, what is set or why not, and whether August warns.
struct Visible(
    Option<&'static str>,
    Option<&'static str>,
    Result<Option<&'static str>, ()>,
    bool,
);

#[test]
fn visibility() {
    let table = [
        Visible(None, None, Ok(None), false),
        Visible(Some(""), Some(""), Ok(None), false),
        Visible(Some(""), None, Ok(None), false),
        Visible(None, Some(""), Ok(None), false),
        Visible(Some("0"), None, Ok(Some("CUDA_VISIBLE_DEVICES=0")), false),
        Visible(
            Some("0"),
            Some(""),
            Ok(Some("CUDA_VISIBLE_DEVICES=0")),
            false,
        ),
        Visible(None, Some("1"), Ok(Some("HIP_VISIBLE_DEVICES=1")), true),
        Visible(Some(""), Some("1"), Ok(Some("HIP_VISIBLE_DEVICES=1")), true),
        Visible(Some("0,1"), Some("0,1"), Ok(None), true),
        Visible(Some("0"), Some("1"), Err(()), true),
        Visible(Some("0,1"), Some("1,0"), Err(()), true),
        Visible(Some("0"), Some(" 0"), Err(()), true),
    ];
    let mut failures = Vec::new();
    for Visible(hip, cuda, expected, warns) in table {
        let mut machine = Machine::default();
        let variables = [("HIP_VISIBLE_DEVICES", hip), ("CUDA_VISIBLE_DEVICES", cuda)];
        for (name, value) in variables {
            machine
                .env
                .extend(value.map(|v| (name.to_owned(), v.to_owned())));
        }
        let expected = expected.map(|set| set.map(str::to_owned)).map_err(|()| {
            format!(
                "Inconsistent GPU visibility env vars: HIP_VISIBLE_DEVICES='{}' vs \
                 CUDA_VISIBLE_DEVICES='{}'. Please set only one, or ensure they match.",
                hip.unwrap(),
                cuda.unwrap()
            )
        });
        for (rules, warning) in [(P, None), (A, warns.then_some(CUDA_VISIBLE_DEPRECATED))] {
            let got = sync_visibility(rules, &machine);
            let set = got
                .outcome
                .map(|set| set.map(|(name, value)| format!("{name}={value}")));
            if set != expected || got.warning != warning {
                failures.push(format!(
                    "{rules} {hip:?} {cuda:?}: {set:?} {:?}",
                    got.warning
                ));
            }
        }
    }
    none_failed(&failures);
}

#[test]
fn gates() {
    let on = "VLLM_ROCM_USE_AITER=1";
    let table: &[(&str, &[&str], RuleSet, [bool; 5])] = &[
        ("gfx942", &[], A, [false, false, false, false, false]),
        ("gfx942", &[on], A, [false, false, false, false, false]),
        ("gfx942", &["aiter"], A, [true, false, false, false, false]),
        (
            "gfx942",
            &["aiter", "VLLM_ROCM_USE_AITER=yes"],
            A,
            [true, false, false, false, false],
        ),
        ("gfx942", &["aiter", on], A, [true, true, true, true, false]),
        (
            "gfx942",
            &["aiter", on, "VLLM_ROCM_USE_AITER_MHA=0"],
            A,
            [true, true, false, true, false],
        ),
        (
            "gfx942",
            &["aiter", on, "VLLM_ROCM_USE_AITER_MLA=0"],
            P,
            [true, true, true, false, false],
        ),
        ("gfx90a", &["aiter", on], P, [false; 5]),
        ("gfx1250", &["aiter", on], P, [false; 5]),
        (
            "gfx1250",
            &["aiter", on],
            A,
            [true, true, true, true, false],
        ),
        (
            "gfx1201",
            &["aiter", on],
            A,
            [false, false, false, false, true],
        ),
        ("gfx1201", &["aiter"], A, [false; 5]),
        ("gfx1201", &[on], A, [false; 5]),
        ("gfx1201", &["aiter", on], P, [false; 5]),
        ("gfx1100", &["aiter", on], A, [false; 5]),
    ];
    let mut failures = Vec::new();
    for (arch, settings, rules, expected) in table {
        let g = Gates::of(*rules, &rocm_machine(arch, settings));
        let got = [g.supported, g.enabled, g.mha, g.mla, g.rdna];
        if got != *expected {
            failures.push(format!("{rules} {arch} {settings:?}: {got:?}"));
        }
    }
    let mut machine = rocm_machine("gfx942", &["aiter", on]);
    machine.platform = Platform::Cuda;
    assert_eq!(Gates::of(A, &machine), Gates::default(), "only on ROCm");
    none_failed(&failures);
}
