//! The rules' tables, every row; each test reports all rows that fail.

mod encoder;
mod founding;
mod inputs;
mod plan;
mod selection;
mod texts;
mod vectors;

use super::*;

const P: RuleSet = RuleSet::March2026;
const A: RuleSet = RuleSet::August2026;

/// Fails with every line at once.
fn none_failed(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} rows fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// A ROCm machine: `settings` holds modules and `K=V` variables.
fn rocm_machine(arch: &str, settings: &[&str]) -> Machine {
    let mut machine = Machine {
        platform: Platform::Rocm,
        arch: Some(arch.to_owned()),
        ..Machine::default()
    };
    for setting in settings {
        match setting.split_once('=') {
            Some((name, value)) => _ = machine.env.insert(name.to_owned(), value.to_owned()),
            None => _ = machine.installed.insert((*setting).to_owned()),
        }
    }
    machine
}

fn name(rules: RuleSet, name: &str) -> BackendName {
    BackendName::of(rules, name).unwrap_or_else(|| panic!("{name} is no member"))
}

/// The choice's name, or the refusal's text.
fn outcome(answer: Result<Selection, Refusal>) -> String {
    answer.map_or_else(|refusal| refusal.to_string(), |s| s.chosen.to_string())
}

use std::result::Result;
