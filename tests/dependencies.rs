//! What a policy tool would hold of the dependencies, from `cargo metadata` alone: their licences and where
//! they come from, and the list of them that goes with a built program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences under which a dependency may be used here. Weak copyleft only for whole crates that we do not
/// change (symphonia).
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Whether an SPDX expression can be met with allowed licences; `/` is an old way to write `OR`.
fn is_met(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut met = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut name = (*word).to_owned();
    if let [Some(&"WITH"), Some(exception)] = [words.get(*at), words.get(*at + 1)] {
        name = format!("{name} WITH {exception}");
        *at += 2;
    }
    ALLOWED.contains(&&*name)
}

/// What cargo knows of a build for a platform, without asking the network.
fn metadata(platform: &str) -> Value {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--offline",
        "--filter-platform",
        platform,
    ]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All packages that a build on this machine may need.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    metadata(host)["packages"].as_array().unwrap().clone()
}

/// Ids of what ends up in the program: dependencies of the crate and of those, but for what only builds
/// or tests use, and macros that run in the compiler.
fn built_in(metadata: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let nodes: BTreeMap<String, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let is_macro = |id: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["id"] == id).unwrap();
        let targets = package["targets"].as_array().unwrap();
        targets
            .iter()
            .any(|target| target["kind"][0] == "proc-macro")
    };
    let (mut found, mut to_see) = (BTreeSet::new(), vec![text(&metadata["resolve"]["root"])]);
    while let Some(id) = to_see.pop() {
        for dependency in nodes[&id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let id = text(&dependency["pkg"]);
            let is_in = kinds.iter().any(|kind| kind["kind"].is_null());
            if is_in && !is_macro(&id) && found.insert(id.clone()) {
                to_see.push(id);
            }
        }
    }
    found
}

/// The list that goes with a program: packages by licence.
fn third_parties() -> String {
    let metadata = metadata("x86_64-unknown-linux-gnu");
    let built_in = built_in(&metadata);
    let mut by_licence: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        if built_in.contains(package["id"].as_str().unwrap()) {
            let field = |name: &str| package[name].as_str().unwrap_or_default();
            let licence = field("license").replace('/', " OR ").replace("  ", " ");
            let names = by_licence.entry(licence).or_default();
            names.insert(field("name"), field("repository"));
        }
    }
    let mut text = HEAD.to_owned();
    for (licence, packages) in by_licence {
        _ = writeln!(text, "\n## {licence}\n");
        for (name, source) in packages {
            match source.trim_end_matches('/') {
                "" => _ = writeln!(text, "- {name}"),
                source => _ = writeln!(text, "- {name} <{source}>"),
            }
        }
    }
    text
}

const HEAD: &str = "\
# What a built program contains of others

Made from `cargo metadata` for x86-64 Linux with all default features, by
`UNDERTONE_UPDATE=1 cargo test --release third_parties`; versions are those of `Cargo.lock`. Who passes a built
program on passes on the notices of these packages, which are in each one's sources, and says where the
sources of those under MPL-2.0 can be had: they are used unchanged.

Beside these packages it holds the weights of Silero's voice activity model, © 2020-present Silero Team, under the
MIT licence (`models/silero/LICENSE`, <https://github.com/snakers4/silero-vad>).
";

#[test]
fn third_parties_are_listed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("THIRD-PARTY.md");
    let list = third_parties();
    assert!(list.contains("\n## MPL-2.0\n"), "{list}");
    if std::env::var_os("UNDERTONE_UPDATE").is_some() {
        std::fs::write(&file, &list).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(
        kept == list,
        "THIRD-PARTY.md is behind Cargo.lock; its head says how to make it again"
    );
}

#[test]
fn licences_and_sources_are_allowed() {
    let mut wrong = Vec::new();
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_met(licence) {
            wrong.push(format!("{name}: {licence}"));
        }
        let source = package["source"].as_str();
        let is_ours = source.is_none() && ["undertone", "undertone-python"].contains(&name);
        if source != Some(REGISTRY) && !is_ours {
            wrong.push(format!("{name}: from {source:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    let cases = [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT AND ISC", true),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("(MIT OR ISC) AND GPL-3.0-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ];
    for (expression, met) in cases {
        assert_eq!(is_met(expression), met, "{expression}");
    }
}
