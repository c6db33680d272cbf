//! How a recording's work is stopped, limited, watched and kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::audio::{self, AudioOptions, AudioStream, Input, Limits};
use crate::batcher::Cancel;
use crate::error::Result;
use crate::options::TranscribeOptions;

/// How to stop a recording's work, and who hears how far it is. Clones share the request to stop.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Control {
    /// Stops the work at its next step.
    pub cancel: Cancel,
    /// How much is taken from the recording before it is refused. Nothing is limited by default.
    pub limits: Limits,
    /// Told when the recording, or its first part, has been read, and after every window, on the thread that does the work.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    /// A file that keeps what windows gave while the work goes on: work that was ended goes on where it was, to
    /// the same result. It is made where there is none; whoever has the result deletes it.
    pub journal: Option<PathBuf>,
}

impl Control {
    /// Opens a recording as the options say.
    pub(super) fn open(&self, input: Input, options: &TranscribeOptions) -> Result<AudioStream> {
        let audio = AudioOptions {
            limits: self.limits,
            ..options.audio()
        };
        audio::open_with(input, &audio)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("cancel", &self.cancel)
            .field("limits", &self.limits)
            .field("progress", &self.progress.as_ref().map(|_| ".."))
            .field("journal", &self.journal)
            .finish()
    }
}

/// How far a recording's work is. `done_s` never falls and ends at `total_s` or beyond.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Seconds of audio done.
    pub done_s: f64,
    /// Seconds of audio in all; while the recording is still read, as its headers promise.
    pub total_s: f64,
}
