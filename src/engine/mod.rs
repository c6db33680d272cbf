//! Many windows at once: a queue of windows in, each window's decoding result out.
//!
//! One worker steps all windows that are in its slots together; windows join and leave between two
//! steps. Gates, temperature, seed and fallback belong to the window, so what shares its batch
//! never changes its result.

mod batcher;
mod queue;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use batcher::{Batcher, Pending};

use crate::decoding::{DecodingResult, LanguageProbabilities};
use crate::options::{DecodingOptions, Gates};

/// Asks running work to stop; clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop at its next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One window and what is wanted of it.
#[derive(Clone)]
pub struct WindowJob {
    /// Log-mel, `(n_mels, 3000)` row-major.
    pub mel: Arc<[f32]>,
    /// How to decode it; its language is set.
    pub options: DecodingOptions,
    /// Temperatures and thresholds.
    pub gates: Gates,
    /// Whose window it is: sources take turns.
    pub source: u64,
    /// Stops it.
    pub cancel: Cancel,
}

/// What a finished job gives.
pub(crate) enum Answer {
    Decoded(Box<DecodingResult>),
    Language(LanguageProbabilities),
}
