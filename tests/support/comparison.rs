//! What a comparison needs wherever it is made: the stored references, a loud word where it cannot be
//! made, and errors that a NaN cannot pass. The tests in `src/` see this file as `crate::comparison`.
// Each of the two test binaries uses a part of it.
#![allow(dead_code)]

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The variable that names the folder of stored references.
const REFERENCE: &str = "UNDERTONE_REFERENCE";
/// The variable that lets a test pass whose comparison cannot be made.
const ALLOW_SKIPS: &str = "UNDERTONE_ALLOW_SKIPS";

/// Says that a comparison cannot be made here, and counts it.
///
/// # Panics
/// Unless `UNDERTONE_ALLOW_SKIPS=1`: what was not compared must not look compared.
pub fn skipped(what: impl Display) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let so_far = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by `eprintln!`: of tests that pass, the harness keeps that to itself.
    let line = format!("SKIPPED ({so_far} so far): {test}: {what}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(
        std::env::var_os(ALLOW_SKIPS).is_some_and(|allowed| allowed == "1"),
        "{what}; {ALLOW_SKIPS}=1 lets this comparison be skipped"
    );
}

/// The folder of stored references; where the variable is not set, the comparison is [`skipped`].
pub fn reference() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(REFERENCE).map(PathBuf::from) else {
        skipped(format_args!(
            "{REFERENCE} is not set, so nothing is compared with stored references"
        ));
        return None;
    };
    let holds = folder.join("reference").is_dir();
    assert!(
        holds,
        "{REFERENCE}={}: no reference/ in it",
        folder.display()
    );
    Some(folder)
}

/// The largest of some errors; infinite where one of them is no number.
pub fn worst(errors: impl IntoIterator<Item = f64>) -> f64 {
    // `f64::max` would drop a NaN.
    let worse = |most: f64, e: f64| {
        if e.is_nan() {
            f64::INFINITY
        } else {
            most.max(e)
        }
    };
    errors.into_iter().fold(0.0, worse)
}

/// The largest absolute difference; infinite where one is no number, or the lengths differ.
pub fn largest_error<A, B>(got: &[A], want: &[B]) -> f64
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(want);
    worst(pairs.map(|(&got, &want)| (got.into() - want.into()).abs()))
}

/// The same over the largest absolute value that is due.
pub fn relative_error<A, B>(got: &[A], want: &[B]) -> f64
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    let error = largest_error(got, want);
    let largest = worst(want.iter().map(|&x| x.into().abs()));
    // Infinity over infinity would be a NaN again.
    if error.is_finite() {
        error / largest.max(1e-30)
    } else {
        error
    }
}

#[test]
fn no_nan_passes_for_a_small_error() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let cases: [(&[f32], &[f32], f64, f64); 8] = [
        (&[1.0, 2.0], &[1.0, 4.0], 2.0, 0.5),
        (&[], &[], 0.0, 0.0),
        (&[nan, 1.0], &[1.0, 1.0], f64::INFINITY, f64::INFINITY),
        (&[1.0, 1.0], &[1.0, nan], f64::INFINITY, f64::INFINITY),
        (&[nan], &[nan], f64::INFINITY, f64::INFINITY),
        (&[inf], &[inf], f64::INFINITY, f64::INFINITY),
        (&[1.0], &[1.0, 1.0], f64::INFINITY, f64::INFINITY),
        (&[0.0], &[0.0], 0.0, 0.0),
    ];
    for (got, want, absolute, relative) in cases {
        assert_eq!(largest_error(got, want), absolute, "{got:?} {want:?}");
        assert_eq!(relative_error(got, want), relative, "{got:?} {want:?}");
    }
    assert_eq!(worst([0.5, f64::NAN, 0.25]), f64::INFINITY);
}

/// In a process of its own, since the variables are those of a whole process.
#[test]
fn a_skip_fails_unless_it_is_allowed_and_is_said_either_way() {
    let this = "a_skip_fails_unless_it_is_allowed_and_is_said_either_way";
    if std::env::var_os("UNDERTONE_TEST_OF_SKIPS").is_some() {
        assert!(reference().is_none());
        return;
    }
    for (allowed, passes) in [(Some("1"), true), (Some("yes"), false), (None, false)] {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        test.arg(this).env("UNDERTONE_TEST_OF_SKIPS", "1");
        test.env_remove(REFERENCE).env_remove(ALLOW_SKIPS);
        if let Some(value) = allowed {
            test.env(ALLOW_SKIPS, value);
        }
        let output = test.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), passes, "{allowed:?}: {said}");
        assert!(said.contains("SKIPPED (1 so far)"), "{allowed:?}: {said}");
    }
}
