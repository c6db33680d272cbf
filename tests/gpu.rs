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

/// What a manifest names beside hashes that are others now, and the sources that it names.
fn stale(folder: &Path, manifest: &str) -> (Vec<String>, usize) {
    let manifest = fs::read_to_string(folder.join("built").join(manifest)).unwrap();
    let (mut stale, mut listed) = (Vec::new(), 0);
    for line in manifest
        .lines()
        .filter(|line| !line.starts_with("compiler\t"))
    {
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
            stale.push(name.to_owned());
        }
    }
    (stale, listed)
}

#[test]
fn code_objects_are_of_these_sources() {
    let folder = root().join("src/kernels/gpu");
    let mut found = Vec::new();
    sources(&folder, &mut found);
    // What AMD's are made of: the plain kernels, and all that they include.
    let amd = ["erf.h", "hip.cu", "hip.h", "plain.cu", "tile.h"];
    let manifests = [
        ("manifest.tsv", found.len(), "build.sh"),
        ("hip.tsv", amd.len(), "hip.sh"),
    ];
    for (manifest, sources, script) in manifests {
        let (stale, listed) = stale(&folder, manifest);
        assert!(
            stale.is_empty(),
            "changed since: {stale:?}; run src/kernels/gpu/{script}"
        );
        assert_eq!(
            sources, listed,
            "other sources than listed; run src/kernels/gpu/{script}"
        );
    }
    let included = amd.iter().flat_map(|name| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines
            .into_iter()
            .filter_map(|line| Some(line.strip_prefix("#include \"")?.to_owned()))
    });
    for name in included {
        let name = name.trim_end_matches('"');
        let known = amd.contains(&name) || name == "emulate.h";
        assert!(
            known,
            "{name}: AMD's code objects are made of it too; add it to hip.sh"
        );
    }
}
