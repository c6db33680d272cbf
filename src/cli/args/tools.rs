//! The options of the commands that look at models, attention and speed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::speech::{AttentionArgs, ModelArgs, RunArgs};
use super::values::parse_language;
use crate::weights::Numbers;

/// `models`.
#[derive(Subcommand, Debug)]
pub enum ModelsCommand {
    /// What the catalogue knows and what is here
    List(ListArgs),
    /// Say which model suits this machine, and recordings of this length and language
    Suggest(SuggestArgs),
    /// Fetch a model
    Pull(ModelName),
    /// Print where a model's weights are
    Path(ModelName),
    /// Delete a model from the cache
    Remove(ModelName),
    /// Check a model's files against their hashes
    Verify(ModelName),
    /// Write a model in another format
    Convert(ConvertArgs),
}

/// `models list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Folder that models are kept in instead of the cache
    #[arg(long, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
}

/// `models suggest`.
#[derive(Args, Debug)]
pub struct SuggestArgs {
    /// Recordings, whose length counts [default: an hour]
    pub audio: Vec<PathBuf>,
    /// What is spoken, as a code or a name; without it, any language
    #[arg(short, long, value_parser = parse_language)]
    pub language: Option<String>,
    /// The text is to be in English
    #[arg(long)]
    pub translate: bool,
    /// How long it may take, in minutes [default: a quarter of the recordings' length, 5 at least]
    #[arg(long, value_name = "MINUTES")]
    pub within: Option<f64>,
}

/// `cache`.
#[derive(Subcommand, Debug)]
pub enum CacheCommand {
    /// What lies where, and how large it is
    Size,
    /// Take away packed copies, which later runs make again; with --models, the models as well
    Clean(CleanArgs),
}

/// `cache clean`.
#[derive(Args, Debug)]
pub struct CleanArgs {
    /// Take away the models that were fetched, too (not those of the Hub's own cache)
    #[arg(long)]
    pub models: bool,
    /// Say what would be taken away, and take nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `models convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// Catalogue name, hub repository, folder or file
    pub source: String,
    /// Folder to write to; it must not exist
    pub destination: PathBuf,
    /// Format to write
    #[arg(long, default_value = "safetensors", value_parser = ["safetensors", "ctranslate2", "ggml", "gguf"])]
    pub format: String,
    /// Numbers to write: floats anywhere (bfloat16 not in ggml and gguf), int8 in ctranslate2,
    /// q… in ggml and gguf, q…_k in gguf [default: the floats that are there]
    #[arg(long, value_name = "NUMBERS", value_parser = numbers())]
    pub quantize: Option<String>,
    /// Folder that models are kept in instead of the cache
    #[arg(long, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
}

/// Every way to store numbers; which format takes which is checked by the conversion.
fn numbers() -> PossibleValuesParser {
    PossibleValuesParser::new(Numbers::named().map(|(name, _)| name))
}

/// One model.
#[derive(Args, Debug)]
pub struct ModelName {
    /// Catalogue name, hub repository, folder or file
    pub model: String,
    /// Folder that models are kept in instead of the cache
    #[arg(long, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
}

/// `attention`.
#[derive(Subcommand, Debug)]
pub enum AttentionCommand {
    /// Each role's choice, and why every other backend was passed over
    Explain(Box<ExplainArgs>),
    /// The tables of backends and what each can do
    List(TableArgs),
    /// Run a file of selection vectors
    Check(CheckArgs),
    /// Run one window through every backend that computes; of the attention options --dtype counts
    Compare(Box<CompareArgs>),
}

/// `attention explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Model options.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Attention options.
    #[command(flatten)]
    pub attention: AttentionArgs,
    /// Width of a head [default: the model's]
    #[arg(long)]
    pub head_size: Option<NonZeroUsize>,
    /// Block size of the KV cache, as --block-size of vLLM
    #[arg(long)]
    pub block_size: Option<NonZeroUsize>,
    /// Show what vLLM would log, too
    #[arg(short, long)]
    pub verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `attention list`.
#[derive(Args, Debug)]
pub struct TableArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `attention check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Vectors with a header line, fields between tabs or blanks
    pub file: PathBuf,
}

/// `attention compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Audio file
    pub audio: PathBuf,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `probe`.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// Audio files; - is standard input
    #[arg(required = true)]
    pub audio: Vec<PathBuf>,
    /// The track that --audio-track of transcribe would take: its number or its language
    #[arg(long, value_name = "N|LANGUAGE")]
    pub audio_track: Option<String>,
    /// Print a line of JSON for each file
    #[arg(long)]
    pub json: bool,
}

/// `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Audio files
    #[arg(required = true)]
    pub audio: Vec<PathBuf>,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
    /// Language code or name
    #[arg(short, long, default_value = "en")]
    pub language: String,
    /// Beams; 1 is greedy
    #[arg(long, default_value_t = 1)]
    pub beam_size: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}
