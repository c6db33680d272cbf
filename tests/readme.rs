//! Whether the README speaks of the program that is here.

use std::collections::BTreeSet;
use std::process::Command;

use undertone::weights::{Numbers, hub};

const README: &str = include_str!("../README.md");

#[test]
fn every_model_and_every_way_to_store_numbers_is_named() {
    let names = hub::catalog().iter().map(|entry| entry.name.as_str());
    let names = names.chain(Numbers::named().map(|(name, _)| name));
    let in_short = |name: &str| {
        name.strip_prefix("distil-large")
            .map(|rest| format!("`{rest}`"))
    };
    let is_named = |name: &str| {
        README.contains(&format!("`{name}`"))
            || in_short(name).is_some_and(|short| README.contains(&short))
    };
    let missing: Vec<_> = names.filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_option_and_command_exists() {
    let manual = Command::new(env!("CARGO_BIN_EXE_undertone"))
        .arg("man")
        .output()
        .unwrap();
    let manual = String::from_utf8_lossy(&manual.stdout).replace('\\', "");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = README.match_indices("--").map(|(at, _)| &README[at..]);
    let options: BTreeSet<String> = words
        .map(|rest| rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())].replace('_', "-"))
        .filter(|option| option.len() > 3 && !option.starts_with("---"))
        // cargo's own, and the one that is taken out of the line before clap sees it.
        .filter(|option| !["--release", "--path", "--example"].contains(&option.as_str()))
        .collect();
    let missing: Vec<_> = options
        .iter()
        .filter(|option| !manual.contains(*option))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(options.len() > 10, "{options:?}");
}
