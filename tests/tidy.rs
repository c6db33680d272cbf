//! What a tool can check of the house rules: who may import whom, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of ours that it may import. `FREE` ones are open to all but kernels.
const IMPORT_LAW: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("audio", &[]),
    ("output", &[]),
    ("eval", &[]),
    ("tokenizer", &[]),
    ("mel", &["kernels", "audio"]),
    ("weights", &["kernels"]),
    ("attention", &["kernels"]),
    ("ranking", &["kernels"]),
    ("model", &["attention", "weights", "kernels", "ranking"]),
    ("decoding", &["ranking", "tokenizer"]),
    ("batcher", &["decoding", "model", "ranking", "tokenizer"]),
    ("longform", &["decoding", "mel", "tokenizer"]),
];
const FREE: &[&str] = &["error", "options", "dims", "transcript"];
const MAX_LINES: usize = 500;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of ours that a source text names, comments aside.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.insert(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_import_only_what_the_law_allows() {
    let mut broken = Vec::new();
    for (module, allowed) in IMPORT_LAW {
        let mut files = Vec::new();
        sources(&root().join("src").join(module), &mut files);
        assert!(!files.is_empty(), "no source in {module}");
        for file in files {
            for import in imports(&fs::read_to_string(&file).unwrap()) {
                let free = *module != "kernels" && FREE.contains(&import.as_str());
                if !(free || import == *module || allowed.contains(&import.as_str())) {
                    broken.push(format!("{}: crate::{import}", file.display()));
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "imports against the law:\n{}",
        broken.join("\n")
    );
}

#[test]
fn files_are_short() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples"] {
        sources(&root().join(folder), &mut files);
    }
    let long: Vec<_> = files
        .iter()
        .map(|file| (fs::read_to_string(file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, file)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn the_library_never_prints_and_never_reads_the_environment() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut broken = Vec::new();
    for file in files {
        let inside = file.strip_prefix(root().join("src")).unwrap();
        if inside.starts_with("cli") || inside == Path::new("main.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let library = text.split("#[cfg(test)]").next().unwrap();
        let code = library
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let library = code.collect::<Vec<_>>().join("\n");
        let is_test = inside.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name.trim_end_matches(".rs").ends_with("tests")
        });
        for word in ["println!", "eprintln!", "env::var(", "dbg!"] {
            if !is_test && library.contains(word) {
                broken.push(format!("{}: {word}", inside.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_top_level_holds_nothing_unexpected() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "examples",
        "models",
        "src",
        "target",
        "tests",
    ];
    let stray: Vec<_> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !known.contains(&name.as_str()))
        .collect();
    assert!(stray.is_empty(), "stray entries: {stray:?}");
}
