//! `attention explain`, `attention list` and `attention check`.
//!
//! Functions over plain values that return the text to print and the exit code.

mod explain;
mod list;
pub mod machine;
mod outcome;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;

use super::args::AttentionCommand;
use super::{compare, resolve};
use crate::attention::vllm::vectors;
use crate::attention::{Registry, backends};
use crate::kernels::Cpu;
use crate::weights::hub;
use explain::{Asked, explain};
use list::list;
use outcome::Outcome;

/// Runs one of the `attention` commands.
pub fn run(command: &AttentionCommand) -> anyhow::Result<u8> {
    let registry = Registry::new(backends::built_in(&Cpu::new(Some(1), None)));
    let outcome = match command {
        AttentionCommand::Explain(args) => {
            let (request, dims) = resolve::explain(args)?;
            let asked = Asked {
                hub_name: Some(hub_name(&args.model.model)),
                slips: resolve::described(&args.attention).slips(request.rules),
                log: args.verbose,
                json: args.json,
            };
            explain(&request, &registry, &dims, &asked)?
        }
        AttentionCommand::List(args) => list(&registry, args.json),
        AttentionCommand::Check(args) => {
            let text = std::fs::read_to_string(&args.file);
            check(&text.with_context(|| args.file.display().to_string())?)
        }
        AttentionCommand::Compare(args) => return compare::run(args),
    };
    std::io::stdout().write_all(outcome.text.as_bytes())?;
    Ok(outcome.code)
}

/// A model's name on the Hub: the catalogue's first repository, or the word itself where it is one. A
/// folder or file has none, and goes by its architecture.
fn hub_name(model: &str) -> String {
    match hub::find(model) {
        Some(entry) => entry
            .repo
            .first()
            .map_or_else(|| entry.name.clone(), |repo| repo.id.clone()),
        None if std::path::Path::new(model).exists() => "a whisper of this architecture".to_owned(),
        None => model.to_owned(),
    }
}

/// `attention check`: runs a file of vectors. 1 where any row differs, and where there is none.
#[must_use]
pub fn check(file_text: &str) -> Outcome {
    let report = vectors::check(file_text);
    let mut text = String::new();
    for mismatch in &report.mismatches {
        _ = writeln!(text, "{mismatch}");
    }
    _ = writeln!(
        text,
        "{} rows, {} mismatches",
        report.rows,
        report.mismatches.len()
    );
    let is_fine = report.rows > 0 && report.mismatches.is_empty();
    Outcome {
        text,
        code: u8::from(!is_fine),
    }
}
