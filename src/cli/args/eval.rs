//! The options of `eval`.

use std::path::PathBuf;

use clap::Args;

use super::speech::RunArgs;

/// `eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Tab-separated manifest with the columns file, language and reference
    pub manifest: PathBuf,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
    /// Only these languages, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub languages: Vec<String>,
    /// Beams; 1 is greedy
    #[arg(long, default_value_t = 1)]
    pub beam_size: usize,
    /// Try higher temperatures where a window fails, as transcribe does; without it, a recording on
    /// which the model repeats itself weighs as much as many others
    #[arg(long)]
    pub fallback: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
