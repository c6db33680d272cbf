//! What was typed. This step only checks its form; `resolve` gives it meaning.
//!
//! Names and defaults are those of openai/whisper's command line, with dashes or underscores.

#[cfg(feature = "eval")]
mod eval;
pub mod foreign;
mod normalize;
#[cfg(feature = "server")]
mod serve;
mod speech;
#[cfg(test)]
mod tests;
mod tools;
mod vad;
mod values;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[cfg(feature = "eval")]
pub use eval::EvalArgs;
pub use normalize::normalize;
#[cfg(feature = "server")]
pub use serve::{AdapterArg, ApiArgs, BatchArgs, ServeArgs};
pub use speech::{
    AlignArgs, AttentionArgs, AudioArgs, DecodingArgs, DetectArgs, GateArgs, OutputArgs, RunArgs,
    SpeechArgs,
};
pub use tools::{
    AttentionCommand, BenchArgs, CacheCommand, CleanArgs, CompareArgs, CompletionsArgs,
    ConvertArgs, ExplainArgs, ListArgs, ModelName, ModelsCommand, ProbeArgs, SuggestArgs,
};
pub use vad::{VadArgs, VadCommandArgs, VadRules};
pub use values::parse_bool;

/// Writes speech down, in its own language or in English.
#[derive(Parser, Debug)]
#[command(name = "undertone", version, max_term_width = 100)]
#[command(override_usage = "undertone [OPTIONS] FILES...\n       undertone COMMAND ...")]
#[command(after_help = "\
Without a command, files are transcribed. What most people need:
  -m, --model NAME          base, small, turbo, ...: `undertone models list` compares them
  -l, --language LANGUAGE   de, German, ...; without it the first 30 seconds decide
  -f, --output-format F     txt, vtt, srt, tsv, json or all; may repeat
  -o, --output-dir FOLDER   where files go; - is standard output
      --compute-type TYPE   f32 (openai/whisper's tokens) or int8 (faster, half the memory)
`undertone transcribe -h` shows these and some more, `undertone transcribe --help` all of them.

Examples:
  undertone interview.mp3
  undertone film.mkv --language de -m small --compute-type int8 -f srt -o subtitles/
  undertone translate conference.m4a --language fr
  undertone recordings/ -o texts/ --skip-existing
  undertone talk.ogg -f json -o - | jq .
  undertone models suggest film.mkv

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
    #[cfg(feature = "server")]
    /// Serve OpenAI's audio API over HTTP
    Serve(Box<ServeArgs>),
    #[cfg(feature = "server")]
    /// Answer a file of API requests, one a line
    RunBatch(Box<BatchArgs>),
    /// Find the time of each word of a known text in its recording
    Align(Box<AlignArgs>),
    /// Say which language the first 30 seconds are in
    DetectLanguage(Box<DetectArgs>),
    /// List a file's audio tracks and say which would be heard
    Probe(ProbeArgs),
    /// Say where recordings have speech
    Vad(VadCommandArgs),
    /// List, fetch, locate, check and remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Which attention backend would be chosen on this machine, or on a simulated GPU machine, and why
    #[command(subcommand)]
    Attention(AttentionCommand),
    /// Time every stage on audio files, beside what this processor can do
    Bench(Box<BenchArgs>),
    #[cfg(feature = "eval")]
    /// Score transcripts against references: word and character error rates
    Eval(Box<EvalArgs>),
    /// Show what this machine has and what undertone makes of it
    Doctor(Box<RunArgs>),
    /// What models and packed copies take on this disk, and how to get it back
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// The names that are commands rather than files.
pub const COMMANDS: &[&str] = &[
    "transcribe",
    "translate",
    "serve",
    "run-batch",
    "align",
    "detect-language",
    "probe",
    "vad",
    "models",
    "attention",
    "bench",
    "eval",
    "doctor",
    "cache",
    "completions",
    "man",
    "help",
];

/// Parses a command line that is in one spelling, program name first.
///
/// # Errors
/// What clap says of it; its exit code is 2 for wrong usage and 0 for help.
pub fn parse(normalized: Vec<OsString>) -> Result<Args, clap::Error> {
    let mut matches = command().clone().try_get_matches_from(normalized)?;
    Args::from_arg_matches_mut(&mut matches)
}

/// Groups of options that few people need: they are in the long help.
const RARE: [&str; 3] = ["Decoding", "Quality gates", "Words"];
/// Options that describe a simulated GPU machine: a topic of its own, which `attention explain` shows.
const SIMULATED: &str = "Attention";

/// The command line's definition; made once, as that takes a third of a millisecond.
pub fn command() -> &'static clap::Command {
    static DEFINITION: OnceLock<clap::Command> = OnceLock::new();
    DEFINITION.get_or_init(definition)
}

fn definition() -> clap::Command {
    let folded = |command: clap::Command| {
        command.mut_args(|option| {
            let heading = option.get_help_heading().unwrap_or_default().to_owned();
            let simulated = heading == SIMULATED;
            let rare = simulated || RARE.contains(&heading.as_str());
            option.hide_short_help(rare).hide_long_help(simulated)
        })
    };
    Args::command().mut_subcommands(|command| match command.get_name() {
        "attention" | "models" => command,
        _ => folded(command),
    })
}
