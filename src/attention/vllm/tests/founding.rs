//! `_get_rocm_attention_config` on both dates.

use super::*;
use crate::attention::vllm::founding::{PlatformProbe, rocm_attention_config};

const WARN_P: &str = "Could not import _ON_MI3XX from rocm platform, falling back to TRITON_ATTN \
     for Whisper.";
const WARN_A: &str = "Could not check cdna version from rocm platform; using a compatible fallback \
     attention backend.";

const WHISPERS: &[&str] = &[
    "openai/whisper-small",
    "OpenAI/Whisper-Large-V3",
    "distil-whisper/x",
    "nyrahealth/CrisperWhisper",
];
const OTHERS: &[&str] = &[
    "google/gemma-3n-E2B-it",
    "JackFram/llama-68m",
    "ibm-granite/granite-speech-3.3-2b",
    "",
];

type Expected = (&'static str, Option<&'static str>);
type Row = (Option<&'static [&'static str]>, bool, bool, [Expected; 2]);

#[test]
fn table() {
    let (ua, ta, fa) = ("ROCM_AITER_UNIFIED_ATTN", "TRITON_ATTN", "ROCM_AITER_FA");
    let mi = &["gfx942", "gfx950:sramecc+:xnack-"][..];
    let gfx1250 = &["gfx1250"][..];
    let others = &["gfx90a", "gfx908", "gfx1030", "gfx1100", "gfx1201", ""][..];
    // Archs where the import works, ROCm or not, Whisper or not, March and August.
    let rows: &[Row] = &[
        (None, false, true, [("None", None); 2]),
        (None, false, false, [("None", None); 2]),
        (Some(mi), true, true, [(ua, None), (ua, None)]),
        (Some(gfx1250), true, true, [(ta, None), (ua, None)]),
        (Some(others), true, true, [(ta, None), (ta, None)]),
        (None, true, true, [(ta, Some(WARN_P)), (ta, Some(WARN_A))]),
        (Some(mi), true, false, [(fa, None), (fa, None)]),
        (Some(gfx1250), true, false, [(fa, None), (fa, None)]),
        (Some(others), true, false, [(fa, None), ("None", None)]),
        (None, true, false, [(fa, None), ("None", Some(WARN_A))]),
    ];
    let mut failures = Vec::new();
    for (archs, rocm, whisper, expected) in rows {
        let probes: Vec<PlatformProbe<'_>> = match archs {
            Some(archs) => archs.iter().map(|a| PlatformProbe::Arch(a)).collect(),
            None if *rocm => vec![PlatformProbe::ImportError],
            None => vec![PlatformProbe::NotRocm],
        };
        for model in if *whisper { WHISPERS } else { OTHERS } {
            for probe in &probes {
                for (rules, (backend, warning)) in RuleSet::ALL.into_iter().zip(expected) {
                    let got = rocm_attention_config(rules, *probe, model);
                    let got_backend = got.backend.map_or("None", BackendName::as_str);
                    if got_backend != *backend || got.warning != *warning {
                        failures.push(format!("{rules} {probe:?} {model}: {got:?}"));
                    }
                }
            }
        }
    }
    none_failed(&failures);
}
