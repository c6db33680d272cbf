//! What a tool can check of the house rules: how long a file may be, what the library never does, and what
//! lies at the top. Imports are beside this, in `imports`.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest that a file may be.
const MAX_LINES: usize = 500;

/// All Rust sources below a folder.
pub fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source without its comments.
pub fn code(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines()
        .filter(is_code)
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// A source without its comments and its tests.
pub fn library_code(text: &str) -> String {
    let (text, mut kept) = (code(text), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept.extend([line, "\n"]);
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let first = lines.find(|line| !line.trim_start().starts_with("#["));
        if first.is_some_and(|first| !first.ends_with([';', '}'])) {
            lines.find(|line| line.trim_end_matches(';') == format!("{indent}}}"));
        }
    }
    kept
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

/// What only the command line may do: print, and look at the environment.
const WORDS_OF_THE_PROGRAM: [&str; 5] = ["println!", "eprintln!", "dbg!", "std::env", "home_dir"];

/// Where the library does it nevertheless, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("weights/hub/mod.rs", "std::env", "asks for the home below"),
    (
        "weights/hub/mod.rs",
        "home_dir",
        "default caches of one who gives none are in the user's home",
    ),
];

#[test]
fn the_library_never_prints_and_never_reads_the_environment() {
    let (src, mut files) = (root().join("src"), Vec::new());
    sources(&src, &mut files);
    let (mut found, mut broken) = (0, Vec::new());
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let is_test = inside.iter().any(|part| {
            let name = part.to_string_lossy();
            name.trim_end_matches(".rs").ends_with("tests")
        });
        if is_test || inside.starts_with("cli") || inside == Path::new("main.rs") {
            continue;
        }
        let library = library_code(&fs::read_to_string(&file).unwrap());
        for word in WORDS_OF_THE_PROGRAM {
            let is_excepted =
                |(name, what, _): &&(&str, &str, &str)| inside == Path::new(name) && *what == word;
            match (library.contains(word), EXCEPTIONS.iter().find(is_excepted)) {
                (true, None) => broken.push(format!("{}: {word}", inside.display())),
                (true, Some(_)) => found += 1,
                (false, _) => {}
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(found, EXCEPTIONS.len(), "a needless exception");
}

#[test]
fn the_top_level_holds_nothing_unexpected() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "THIRD-PARTY.md",
        "examples",
        "models",
        "python",
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
