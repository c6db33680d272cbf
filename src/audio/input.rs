//! What can be listened to.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dims::SAMPLE_RATE;

/// A recording, in any of the forms a caller may hold it.
#[non_exhaustive]
pub enum Input {
    /// A file; its content, not its extension, tells the format.
    Path(PathBuf),
    /// A whole file in memory.
    Bytes {
        /// The name used in messages.
        name: String,
        /// The file's bytes.
        data: Arc<[u8]>,
    },
    /// A file that can only be read forward; it is kept in memory up to 8 MiB, beyond that in an
    /// unnamed temporary file, because several containers keep their index at the end.
    Reader {
        /// The name used in messages.
        name: String,
        /// Where the bytes come from.
        reader: Box<dyn Read + Send>,
    },
    /// Mono samples between -1 and 1, used as they are (not rounded to 16 bits).
    Samples {
        /// The name used in messages.
        name: String,
        /// The samples, whoever owns them.
        data: Arc<dyn AsRef<[f32]> + Send + Sync>,
        /// Samples per second.
        sample_rate: u32,
    },
}

impl Input {
    /// Standard input, named `-` in messages.
    #[must_use]
    pub fn stdin() -> Self {
        Self::Reader {
            name: "-".to_owned(),
            reader: Box::new(std::io::stdin()),
        }
    }

    /// A reader under the name that messages shall use.
    pub fn reader(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        Self::Reader {
            name: name.into(),
            reader: Box::new(reader),
        }
    }

    /// Mono samples at any rate. They are read where they are: nothing is copied.
    pub fn samples(data: impl AsRef<[f32]> + Send + Sync + 'static, sample_rate: u32) -> Self {
        Self::Samples {
            name: "samples".to_owned(),
            data: Arc::new(data),
            sample_rate,
        }
    }

    /// The name that messages use.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Bytes { name, .. } | Self::Reader { name, .. } | Self::Samples { name, .. } => {
                name.clone()
            }
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({})", self.name())
    }
}

impl From<&str> for Input {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

impl From<String> for Input {
    fn from(path: String) -> Self {
        Self::Path(path.into())
    }
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&PathBuf> for Input {
    fn from(path: &PathBuf) -> Self {
        Self::Path(path.clone())
    }
}

impl From<Vec<u8>> for Input {
    fn from(data: Vec<u8>) -> Self {
        Self::Bytes {
            name: "bytes".to_owned(),
            data: data.into(),
        }
    }
}

impl From<Vec<f32>> for Input {
    /// Mono samples at 16 kHz.
    fn from(data: Vec<f32>) -> Self {
        Self::samples(data, SAMPLE_RATE as u32)
    }
}

impl From<Arc<[f32]>> for Input {
    /// Mono samples at 16 kHz.
    fn from(data: Arc<[f32]>) -> Self {
        Self::samples(data, SAMPLE_RATE as u32)
    }
}

/// How much is taken from one input before it is refused. Nothing is limited by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Most bytes the file may have.
    pub max_bytes: Option<u64>,
    /// Most seconds of audio it may hold.
    pub max_seconds: Option<f64>,
}

/// Which of a file's audio tracks is listened to; as text its number or its language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TrackChoice {
    /// The track of this number among the file's audio tracks, from 1 on.
    Number(usize),
    /// The first track in this language: a code of two or three letters, with or without a region.
    Language(String),
}

impl From<&str> for TrackChoice {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Language(text.to_owned()),
        }
    }
}

impl From<String> for TrackChoice {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<TrackChoice> for String {
    fn from(choice: TrackChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for TrackChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Language(language) => write!(f, "{language}"),
        }
    }
}

/// What becomes of stretches for which a container has no packets, and of a late start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gaps {
    /// What follows is heard at once, as ffmpeg and so openai/whisper have it; times count what is
    /// heard.
    #[default]
    Close,
    /// Silence fills them, so that times are those of a player.
    Keep,
}

/// How a file is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AudioOptions {
    /// How much is taken from it.
    pub limits: Limits,
    /// Which track; by default the one that is marked as default, or the first that can be decoded.
    pub track: Option<TrackChoice>,
    /// The language that is expected. It chooses no track; but where another one than the taken is
    /// tagged with it, there is a warning.
    pub language: Option<String>,
    /// What becomes of gaps.
    pub gaps: Gaps,
    /// The one channel that is heard, from 0 on, or the last one there is; all of them, mixed, by default.
    pub channel: Option<usize>,
}
