//! Readers against bytes that nobody should have written, without a nightly compiler: a mutating
//! fuzzer that starts from small whole files. `UNDERTONE_FUZZ_SECONDS` says how long each target
//! runs (2 s otherwise); the same targets run under libFuzzer from the package beside this file.

mod allocator;
mod mutate;
mod seeds;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::{Random, mutated};
use targets::{TARGETS, Target};

/// What each target is given where nothing else is asked for.
const SECONDS: u64 = 2;
/// How many changed inputs that were accepted are kept to change further.
const MOST_KEPT: usize = 64;

fn seconds() -> Duration {
    let asked = std::env::var("UNDERTONE_FUZZ_SECONDS").ok();
    Duration::from_secs(asked.and_then(|text| text.parse().ok()).unwrap_or(SECONDS))
}

/// A folder of a test's and a target's own, in which its last input stays after an abort. Two tests
/// must not share one: a file that is mapped by one would be cut short by the other.
fn folder(test: &str, target: &Target) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(test)
        .join(target.name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs one input; the most bytes it held. A panic leaves the input in a file.
fn run(target: &Target, dir: &Path, bytes: &[u8]) -> (bool, usize) {
    let mut accepted = false;
    let work = || allocator::guarded(|| accepted = (target.run)(dir, bytes));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(peak) => (accepted, peak),
        Err(_) => {
            allocator::unguarded();
            let file = dir.with_extension("crash");
            std::fs::write(&file, bytes).unwrap();
            panic!("{}: panics on {}", target.name, file.display());
        }
    }
}

/// Changes seeds, and changed ones that are still accepted, until the time is over.
fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let dir = folder("fuzz", target);
    let mut inputs = (target.seeds)(&dir);
    let seeds = inputs.len();
    assert!(seeds > 0, "{name} has seeds");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // A short run is the same every time, a long one is not.
    let first = match seconds().as_secs() {
        SECONDS => 1,
        _ => since.as_nanos() as u64 | 1,
    };
    let (mut random, started) = (Random(first), Instant::now());
    let (mut runs, mut accepted, mut most) = (0_u64, 0_u64, 0);
    while started.elapsed() < seconds() {
        let (seed, other) = (random.below(inputs.len()), random.below(inputs.len()));
        let input = mutated(&mut random, &inputs[seed], &inputs[other]);
        let (taken, peak) = run(target, &dir, &input);
        (runs, accepted) = (runs + 1, accepted + u64::from(taken));
        most = most.max(peak);
        if taken && input.len() < 2 * inputs[seed].len() {
            match inputs.len() < seeds + MOST_KEPT {
                true => inputs.push(input),
                false => {
                    let at = seeds + random.below(MOST_KEPT);
                    inputs[at] = input;
                }
            }
        }
    }
    eprintln!(
        "fuzz {name}: {runs} inputs in {} s, {accepted} accepted, at most {:.1} MB held; seed {first}",
        seconds().as_secs(),
        most as f64 / 1e6
    );
    assert!(runs > 10, "{name}: only {runs} inputs");
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        #[test]
        fn every_target_is_a_test_and_a_binary() {
            let tests = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), tests);
            let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
            let manifest = std::fs::read_to_string(here.join("Cargo.toml")).unwrap();
            for name in tests {
                assert!(here.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

tests! {
    safetensors shards config ctranslate2 pt pickle ggml gguf tokenizer vocabulary manifest packed audio
}

#[test]
fn good_files_are_accepted_and_cut_off_ones_are_not() {
    for target in &TARGETS {
        let dir = folder("fuzz-cut", target);
        for seed in (target.seeds)(&dir) {
            let legacy = target.name == "pt" && seed.starts_with(b"\x80");
            assert_eq!(run(target, &dir, &seed).0, !legacy, "{}", target.name);
            let lengths = (0..64).chain((64..seed.len()).step_by(seed.len() / 32 + 1));
            for length in lengths.take_while(|length| *length < seed.len()) {
                // CTranslate2's list of aliases, at its end, is not needed; a recording is heard as
                // far as it goes.
                let needless = target.name == "audio"
                    || target.name == "ctranslate2" && length + 60 > seed.len();
                let taken = run(target, &dir, &seed[..length]).0;
                assert!(!taken || needless, "{}: cut at {length}", target.name);
            }
        }
    }
}

#[test]
fn a_thread_that_is_not_guarded_may_have_what_it_wants() {
    let peak = allocator::guarded(|| drop(std::hint::black_box(vec![0_u8; 1 << 20])));
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
    drop(std::hint::black_box(Vec::<u8>::with_capacity(5 << 29)));
    let refused = std::cell::Cell::new(false);
    allocator::guarded(|| refused.set(Vec::<u8>::new().try_reserve(5 << 29).is_err()));
    assert!(refused.get());
}
