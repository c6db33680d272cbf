//! Environment variables, as vLLM reads them. The values come in as a map.

use super::query::Machine;
use super::rule_set::RuleSet;
use crate::error::{Error, Result};

/// A boolean variable: true only where its text is `true` or `1` in any case.
/// An unset one has the default; an empty one is false.
#[must_use]
pub fn flag(machine: &Machine, name: &str, default: bool) -> bool {
    machine.env(name).map_or(default, |text| {
        matches!(text.to_lowercase().as_str(), "true" | "1")
    })
}

/// `VLLM_BATCH_INVARIANT`: any whole number but 0 switches it on, however long, as Python reads it.
///
/// # Errors
/// [`Error::Option`] in Python's words where the text is no whole number.
pub fn batch_invariant(machine: &Machine) -> Result<bool> {
    let text = machine.env("VLLM_BATCH_INVARIANT").unwrap_or("0");
    let number = text.trim();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    if !digits.split('_').all(is_group) {
        return Err(Error::Option {
            option: "VLLM_BATCH_INVARIANT",
            reason: format!("invalid literal for int() with base 10: '{text}'"),
        });
    }
    Ok(digits.bytes().any(|b| !matches!(b, b'0' | b'_')))
}

/// The deprecation that `2026-08` warns of wherever `CUDA_VISIBLE_DEVICES` comes in non-empty.
pub const CUDA_VISIBLE_DEPRECATED: &str = "Using CUDA_VISIBLE_DEVICES on ROCm is deprecated and \
     support will be removed in vLLM v0.26.0. Please use HIP_VISIBLE_DEVICES instead.";

/// What becomes of the two variables that say which GPUs are visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// The warning, which comes first, even before an error.
    pub warning: Option<&'static str>,
    /// A variable to set and its value, nothing, or the error's text.
    pub outcome: std::result::Result<Option<(&'static str, String)>, String>,
}

/// Brings `HIP_VISIBLE_DEVICES` and `CUDA_VISIBLE_DEVICES` into line, as vLLM does at import.
/// An empty text counts as unset; texts are compared as they are.
#[must_use]
pub fn sync_visibility(rules: RuleSet, machine: &Machine) -> Visibility {
    let read = |name| machine.env(name).filter(|text| !text.is_empty());
    let (hip, cuda) = (read("HIP_VISIBLE_DEVICES"), read("CUDA_VISIBLE_DEVICES"));
    let warning =
        (rules == RuleSet::August2026 && cuda.is_some()).then_some(CUDA_VISIBLE_DEPRECATED);
    let outcome = match (hip, cuda) {
        (Some(h), Some(c)) if h != c => Err(format!(
            "Inconsistent GPU visibility env vars: HIP_VISIBLE_DEVICES='{h}' vs \
             CUDA_VISIBLE_DEVICES='{c}'. Please set only one, or ensure they match."
        )),
        (Some(h), None) => Ok(Some(("CUDA_VISIBLE_DEVICES", h.to_owned()))),
        (None, Some(c)) => Ok(Some(("HIP_VISIBLE_DEVICES", c.to_owned()))),
        _ => Ok(None),
    };
    Visibility { warning, outcome }
}
