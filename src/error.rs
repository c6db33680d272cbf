//! One error type, a variant per cause that a caller can act on.

use std::path::PathBuf;

/// What every fallible call of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. Every variant names the file, model, tensor or field at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input cannot be read at all: missing, empty, a folder, no permission.
    #[error("{input}: cannot be read: {reason}")]
    Input {
        /// The file as the caller named it.
        input: String,
        /// What the system said.
        reason: String,
    },
    /// The bytes are no audio container that is known, or hold no audio.
    #[error("{input}: {reason}")]
    Audio {
        /// The file as the caller named it.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The container is known, what it holds cannot be decoded.
    #[error("{input}: cannot decode {codec}: {reason}")]
    Codec {
        /// The file as the caller named it.
        input: String,
        /// The codec's name, for example `AAC (HE, SBR)`.
        codec: String,
        /// Why not.
        reason: String,
    },
    /// A weights or tokenizer file is damaged, incomplete or of an unknown format.
    #[error("{}: {}{reason}", file.display(), tensor.as_ref().map_or(String::new(), |t| format!("{t}: ")))]
    Weights {
        /// The file.
        file: PathBuf,
        /// The tensor or field at fault, where there is one.
        tensor: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// No source could deliver the model; each is listed with its reason.
    #[error("model {model} could not be had:{}", list(tried))]
    ModelUnavailable {
        /// The name as the caller gave it.
        model: String,
        /// Each source tried, in order, and why it failed.
        tried: Vec<String>,
    },
    /// The model cannot do what is asked of it.
    #[error("{model}: {reason}")]
    ModelCannot {
        /// The model.
        model: String,
        /// What it cannot do, and which models can.
        reason: String,
    },
    /// An option has a value that makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// No attention backend can serve the model as asked.
    #[error("{0}")]
    Attention(String),
    /// An output file could not be written.
    #[error("{}: cannot be written: {reason}", file.display())]
    Output {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The engine's worker failed or has stopped: a defect of this crate or of a custom backend.
    #[error("the engine failed: {0}")]
    Engine(String),
    /// The work was cancelled by its caller.
    #[error("cancelled")]
    Cancelled,
    /// Tensor arithmetic failed: a defect of this crate or of a custom backend.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}
