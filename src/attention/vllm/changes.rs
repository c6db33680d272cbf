//! What would change an answer: the rules are asked again with one thing of the machine otherwise.

use super::names::BackendName;
use super::plan::{Answer, Request, answers};
use super::query::{Dtype, Platform, Role};
use super::rule_set::RuleSet;
use crate::attention::Registry;
use crate::dims::ModelDimensions;

/// One thing that would change the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The options that describe it.
    pub options: &'static str,
    /// The roles that would get another backend, and which.
    pub roles: Vec<(Role, BackendName)>,
}

/// Makes a thing so; `false` where it is so already or makes no sense.
type Step = fn(&mut Request) -> bool;

/// Simple things before those that they are part of.
const STEPS: [(&str, Step); 8] = [
    ("--installed aiter", |r| install(r, "aiter")),
    ("--env VLLM_ROCM_USE_AITER=1", |r| {
        set(r, "VLLM_ROCM_USE_AITER", "1")
    }),
    ("--installed aiter --env VLLM_ROCM_USE_AITER=1", |r| {
        install(r, "aiter") && set(r, "VLLM_ROCM_USE_AITER", "1")
    }),
    ("--env VLLM_ROCM_USE_AITER_MHA=0", |r| {
        set(r, "VLLM_ROCM_USE_AITER_MHA", "0")
    }),
    ("--installed flash_attn", |r| install(r, "flash_attn")),
    (
        "--installed flash_attn --env FLASH_ATTENTION_TRITON_AMD_ENABLE=TRUE",
        |r| {
            install(r, "flash_attn");
            set(r, "FLASH_ATTENTION_TRITON_AMD_ENABLE", "TRUE")
        },
    ),
    ("--dtype float32", |r| {
        r.dtype.replace(Dtype::F32) != Some(Dtype::F32)
    }),
    ("", other_rules),
];

fn install(request: &mut Request, package: &str) -> bool {
    let missing = !request.machine.has_module(package);
    request.machine.installed.insert(package.to_owned());
    missing
}

fn set(request: &mut Request, name: &str, value: &str) -> bool {
    let before = request
        .machine
        .env
        .insert(name.to_owned(), value.to_owned());
    before.as_deref() != Some(value)
}

fn other_rules(request: &mut Request) -> bool {
    request.rules = match request.rules {
        RuleSet::March2026 => RuleSet::August2026,
        RuleSet::August2026 => RuleSet::March2026,
    };
    true
}

/// Each thing that would give some role another backend than `now` says. Of two that give the same,
/// the simpler. Only for ROCm.
#[must_use]
pub fn changes(
    request: &Request,
    registry: &Registry,
    dims: &ModelDimensions,
    now: &[Answer],
) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    if request.machine.platform != Platform::Rocm {
        return found;
    }
    for (options, step) in STEPS {
        let mut other = request.clone();
        if !step(&mut other) {
            continue;
        }
        let Ok((then, _)) = answers(&other, registry, dims) else {
            continue;
        };
        let roles = differences(now, &then);
        if !roles.is_empty() && found.iter().all(|change| change.roles != roles) {
            let options = match other.rules == request.rules {
                true => options,
                false if other.rules == RuleSet::March2026 => "--rules 2026-03",
                false => "--rules 2026-08",
            };
            found.push(Change { options, roles });
        }
    }
    found
}

fn differences(now: &[Answer], then: &[Answer]) -> Vec<(Role, BackendName)> {
    let chosen = |answer: &Answer| answer.vllm.as_ref().ok().map(|s| s.chosen);
    let pairs = now.iter().zip(then);
    pairs
        .filter_map(|(now, then)| {
            let other = chosen(then).filter(|other| chosen(now) != Some(*other));
            other.map(|other| (then.role, other))
        })
        .collect()
}
