//! vLLM's rules for choosing an attention backend, mirrored: names, capabilities, preferences, words.
//!
//! In: plain values, a [`Machine`] (platform, architecture, environment, installed packages), a
//! [`Request`] and an [`AttentionQuery`] for each [`Role`]. Out: a [`Plan`] made once at load, with every
//! rejection and log line. No global state and no I/O, so AMD machines are tested on a laptop; only
//! [`detect`] looks at the real machine.

pub mod arch;
pub mod capability;
pub mod changes;
pub mod detect;
pub mod encoder;
pub mod env;
pub mod founding;
mod names;
mod objections;
mod plan;
mod query;
pub mod reasons;
pub mod rocm;
mod rule_set;
mod select;
pub mod vectors;

#[cfg(test)]
mod tests;

#[cfg(test)]
use names::Requested;
pub use names::{BackendName, Kind};
pub use objections::Objection;
pub use plan::{Answer, Plan, Request, answers, block_size, kernel, plan};
pub use query::{AttentionQuery, AttentionType, Dtype, Flags, Machine, ModelKind, Platform, Role};
pub use rule_set::RuleSet;
pub use select::{How, Level, LogLine, Refusal, Rejection, Selection, select};
