//! What was typed. This step only checks its form; `resolve` gives it meaning.
//!
//! Names and defaults are those of openai/whisper's command line, with dashes or underscores.

#[cfg(feature = "eval")]
mod eval;
mod normalize;
mod speech;
#[cfg(test)]
mod tests;
mod tools;
mod values;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

#[cfg(feature = "eval")]
pub use eval::EvalArgs;
pub use normalize::normalize;
pub use speech::{
    AttentionArgs, DecodingArgs, DetectArgs, GateArgs, OutputArgs, RunArgs, SpeechArgs,
};
pub use tools::{
    AttentionCommand, BenchArgs, CompareArgs, CompletionsArgs, ConvertArgs, ExplainArgs, ListArgs,
    ModelName, ModelsCommand, ProbeArgs,
};
pub use values::parse_bool;

/// Whisper speech recognition and translation on the CPU.
#[derive(Parser, Debug)]
#[command(name = "undertone", version, max_term_width = 100)]
#[command(after_help = "\
Without a command, `transcribe` is meant: undertone interview.mp3
Options may be written with dashes or underscores, and as openai/whisper's command has them.
Defaults may stand in UNDERTONE_* variables (UNDERTONE_BEAM_SIZE=1), then in
~/.config/undertone/config.toml (beam_size = 1); --show-config shows what is in force.
Exit codes: 0 all fine, 1 some file failed, 2 the command line makes no sense, 130 interrupted.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write speech down in its own language
    Transcribe(Box<SpeechArgs>),
    /// Write speech down in English
    Translate(Box<SpeechArgs>),
    /// Say which language the first 30 seconds are in
    DetectLanguage(Box<DetectArgs>),
    /// List a file's audio tracks and say which would be heard
    Probe(ProbeArgs),
    /// List, fetch, locate, check and remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Show which attention backend is chosen, and why
    #[command(subcommand)]
    Attention(AttentionCommand),
    /// Time every stage on audio files, beside what this processor can do
    Bench(Box<BenchArgs>),
    #[cfg(feature = "eval")]
    /// Score transcripts against references: word and character error rates
    Eval(Box<EvalArgs>),
    /// Show what this machine has and what undertone makes of it
    Doctor(Box<RunArgs>),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// The names that are commands rather than files.
pub const COMMANDS: &[&str] = &[
    "transcribe",
    "translate",
    "detect-language",
    "probe",
    "models",
    "attention",
    "bench",
    "eval",
    "doctor",
    "completions",
    "man",
    "help",
];

/// Parses a command line that is in one spelling, program name first.
///
/// # Errors
/// What clap says of it; its exit code is 2 for wrong usage and 0 for help.
pub fn parse(normalized: Vec<OsString>) -> Result<Args, clap::Error> {
    Args::try_parse_from(normalized)
}
