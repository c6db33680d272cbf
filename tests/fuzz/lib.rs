//! The targets for libFuzzer: `cargo +nightly fuzz run --fuzz-dir tests/fuzz ggml -- -malloc_limit_mb=1024`.

mod seeds;
pub mod targets;

#[doc(hidden)]
pub use libfuzzer_sys;

/// A target's `fuzz_target!`, with a folder of its own.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            use std::sync::LazyLock;
            static DIR: LazyLock<std::path::PathBuf> = LazyLock::new(|| $crate::stage($name));
            $crate::run($name, &DIR, bytes);
        });
    };
}

fn find(name: &str) -> &'static targets::Target {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    target.expect("a target of this name")
}

/// A folder with what lies beside the fuzzed file; the seeds are put into `corpus/NAME`.
pub fn stage(name: &str) -> std::path::PathBuf {
    let dir = tempfile::tempdir().expect("a folder for temporary files").keep();
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    std::fs::create_dir_all(&corpus).expect("the corpus can be written");
    for (i, seed) in (find(name).seeds)(&dir).into_iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{i}")), seed).expect("the corpus can be written");
    }
    dir
}

/// One input.
pub fn run(name: &str, dir: &std::path::Path, bytes: &[u8]) {
    (find(name).run)(dir, bytes);
}
