//! The GPU's kernels without a GPU: their own sources run on the CPU, thread by thread, against the same
//! arithmetic in double precision; and what is shipped of them was made from the sources beside it. On a
//! card `tests/gpu.sh` runs the same checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::support::skipped;
use crate::tidy::root;

/// A C++ compiler of this machine.
pub fn compiler() -> Option<&'static str> {
    let works = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    ["c++", "g++", "clang++"].into_iter().find(works)
}

#[test]
fn kernels_agree_with_double_precision_on_the_emulator() {
    let Some(compiler) = compiler() else {
        return skipped("there is no C++ compiler to emulate the GPU's kernels with");
    };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels_on_the_emulator");
    let compiled = Command::new(compiler)
        .args(["-std=c++17", "-O1", "-fno-strict-aliasing"])
        .args(["-U_FORTIFY_SOURCE", "-Wall", "-Werror"])
        .args(["-Wno-unknown-pragmas", "-Wno-unused-function"])
        .arg(root().join("tests/gpu/main.cpp"))
        .arg("-o")
        .arg(&program)
        .arg("-ldl")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    let ran = Command::new(&program).output().unwrap();
    let table = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{table}");
    assert!(table.ends_with("0 wrong\n"), "{table}");
    let checks = table.lines().filter(|line| line.ends_with(" ok")).count();
    assert!(checks >= 60, "{checks} checks:\n{table}");
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The kernels' sources: what the compiler of code objects reads.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let named = |kind: &str| path.extension().is_some_and(|e| e == kind);
        if path.is_dir() {
            sources(&path, found);
        } else if named("cu") || (named("h") && !path.ends_with("emulate.h")) {
            found.push(path);
        }
    }
}

#[test]
fn code_objects_are_of_these_sources() {
    let folder = root().join("src/kernels/gpu");
    let manifest = fs::read_to_string(folder.join("built/manifest.tsv")).unwrap();
    let mut stale = Vec::new();
    let mut listed = 0;
    for line in manifest.lines() {
        let (name, expected) = line.split_once('\t').unwrap();
        let bytes = if name.starts_with("built/") {
            let packed = fs::read(folder.join(format!("{name}.zz"))).unwrap();
            let mut bytes = Vec::new();
            let mut unpacked = flate2::read::ZlibDecoder::new(&packed[..]);
            std::io::Read::read_to_end(&mut unpacked, &mut bytes).unwrap();
            bytes
        } else {
            listed += 1;
            fs::read(folder.join(name)).unwrap_or_default()
        };
        if hash(&bytes) != expected {
            stale.push(name);
        }
    }
    let mut found = Vec::new();
    sources(&folder, &mut found);
    let again = "run src/kernels/gpu/build.sh";
    assert!(stale.is_empty(), "changed since: {stale:?}; {again}");
    assert_eq!(found.len(), listed, "other sources than listed; {again}");
}
