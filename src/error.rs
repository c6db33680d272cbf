//! One error type, a variant per cause that a caller can act on.

use std::io;
use std::path::PathBuf;

/// What every fallible call of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. Every variant names the file, model, tensor or field at fault.
///
/// Its text says all that is known, the cause's own words included. `source()` is the cause itself,
/// for its kind (`io::ErrorKind`) or its place: who prints whole chains leaves it out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input cannot be read at all: missing, empty, a folder, no permission.
    #[error("{input}: cannot be read: {source}")]
    Input {
        /// The file as the caller named it.
        input: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no audio container that is known, or hold no audio.
    #[error("{input}: {reason}")]
    Audio {
        /// The file as the caller named it.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The recording is longer than [`Limits`](crate::Limits) allow.
    #[error("{input}: it is longer than the limit of {limit_s} s")]
    TooLong {
        /// The file as the caller named it.
        input: String,
        /// The limit, in seconds.
        limit_s: f64,
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
    /// A model's file (weights, vocabulary, configuration) cannot be opened or read.
    #[error("{}: cannot be read: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("{}: is not the JSON expected: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong, and in which line.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No source could deliver the model; each is listed with its reason.
    #[error("model {model} cannot be found or fetched:{}", list(tried))]
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
    #[error("{}: cannot be written: {source}", file.display())]
    Output {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A temporary file cannot be made or written.
    #[error("a temporary file cannot be written: {0}; TMPDIR says where such files go")]
    Temporary(#[source] io::Error),
    /// The system refuses a thread.
    #[error("no thread to work in: {0}")]
    Thread(#[source] io::Error),
    /// A server cannot listen at its address.
    #[error("{address}: cannot be listened at: {source}")]
    Listen {
        /// The address as the caller gave it.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The engine's worker failed or has stopped: a defect of this crate or of a custom backend.
    #[error("the engine failed: {0}")]
    Engine(String),
    /// A text that was to be aligned with a recording is not what is said in it.
    #[error(
        "the text is not what is said: none of its sentences ({sentences} in all) was heard; what was: {heard:?}"
    )]
    NotSaid {
        /// Sentences of the text.
        sentences: usize,
        /// How what was heard begins.
        heard: String,
    },
    /// A graphics card, or its driver, is missing or cannot do what is needed.
    #[error("{device}: {reason}")]
    Device {
        /// The card: `cuda:0`; or `cuda`, where it is all of them.
        device: String,
        /// What is missing, or what went wrong.
        reason: String,
    },
    /// The work was cancelled by its caller.
    #[error("cancelled")]
    Cancelled,
    /// Tensor arithmetic failed: a defect of this crate or of a custom backend.
    #[error("tensor operation failed: {0}")]
    Tensor(#[source] TensorError),
}

/// What the tensor library said.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TensorError(candle_core::Error);

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(TensorError(error))
    }
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn causes_keep_their_kind_and_are_said() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let file = PathBuf::from("here");
        let json = serde_json::from_str::<u32>("{").unwrap_err();
        let input = "here".to_owned();
        let cases = [
            Error::Input {
                input,
                source: denied(),
            },
            Error::File {
                file: file.clone(),
                source: denied(),
            },
            Error::Output {
                file: file.clone(),
                source: denied(),
            },
            Error::Thread(denied()),
            Error::Json {
                file,
                source: json.into(),
            },
            candle_core::Error::Msg("shapes".into()).into(),
        ];
        for (n, error) in cases.iter().enumerate() {
            let source = error.source().unwrap();
            assert!(error.to_string().ends_with(&source.to_string()), "{error}");
            let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
            assert_eq!(kind.is_some(), n < 4, "{error}");
            assert!(kind.is_none_or(|kind| kind == io::ErrorKind::PermissionDenied));
            assert!(n > 2 || error.to_string().starts_with("here: cannot be "));
        }
    }
}
