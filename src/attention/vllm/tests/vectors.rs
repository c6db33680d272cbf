//! The file of vectors, and how fast a call is.

use std::time::Instant;

use super::*;
use crate::attention::vllm::vectors::{Report, check};
use crate::comparison;

#[test]
fn the_reference_vectors_agree() {
    let Some(folder) = comparison::reference() else {
        return;
    };
    let file = folder.join("spec/rocm-selection-vectors.tsv");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let report = check(&text);
    assert!(report.rows > 200, "only {} rows", report.rows);
    none_failed(&report.mismatches);
}

const ROW: &str = "A018 gfx942 y 1 - y XD f16 64 auto - - - UA UA,TA FA:at;TQ:kv+at";

#[test]
fn a_file_is_read_with_all_its_oddities() {
    let header = "id\tarch\taiter_installed\tVLLM_ROCM_USE_AITER\n";
    let good = format!("{header}\n# a note\n{ROW}\n");
    assert_eq!(
        check(&good),
        Report {
            rows: 1,
            mismatches: Vec::new()
        }
    );
    let table = [
        (
            ROW.replace(" UA UA,TA", " TA UA,TA"),
            "A018: outcome expected TA, got UA",
        ),
        (
            ROW.replace("UA,TA", "UA"),
            "A018: valid expected UA, got UA,TA",
        ),
        (
            ROW.replace("FA:at;", ""),
            "A018: rejected expected TQ:kv+at, got FA:at;TQ:kv+at",
        ),
        (
            ROW.replace("kv+at", "at+kv"),
            "A018: rejected expected FA:at;TQ:at+kv, got FA:at;TQ:kv+at",
        ),
        (
            ROW.replace("f16", "f8"),
            "A018 (line 1): cannot be read: dtype",
        ),
        (
            ROW.replace("A018", "B018"),
            "B018 (line 1): cannot be read: its name begins",
        ),
        (
            ROW.replace(" FA:at;TQ:kv+at", ""),
            "A018 (line 1): cannot be read: 15 fields",
        ),
        (
            ROW.replace("auto - - -", "auto - what -"),
            "cannot be read: unknown flag \"what\"",
        ),
    ];
    for (text, expected) in table {
        let report = check(&text);
        assert_eq!((report.rows, report.mismatches.len()), (1, 1), "{text}");
        assert!(
            report.mismatches[0].contains(expected),
            "{}",
            report.mismatches[0]
        );
    }
}

/// The bound is loose in builds without optimization.
#[test]
fn a_call_takes_microseconds() {
    const CALLS: u32 = 20_000;
    let machine = rocm_machine(
        "gfx942:sramecc+:xnack-",
        &["aiter", "VLLM_ROCM_USE_AITER=1"],
    );
    let query = AttentionQuery::new(AttentionType::EncoderDecoder, 64, Dtype::F16);
    let call = || select(A, &machine, ModelKind::EncoderDecoder, None, &query);
    // The best of several runs: other programs share the machine.
    let best = (0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            assert!(std::hint::black_box(call()).is_ok());
        }
        start.elapsed() / CALLS
    });
    let best = best.min().unwrap();
    let bound_us = if cfg!(debug_assertions) { 200 } else { 10 };
    assert!(best.as_micros() < bound_us, "{best:?} a call");
    eprintln!("select(): {best:?} a call");
}
