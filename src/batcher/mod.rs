//! Many windows at once: a queue of windows in, each window's decoding result out.
//!
//! One worker steps all windows that are in its slots together; windows join and leave between two
//! steps. Gates, temperature, seed and fallback belong to the window, so what shares its batch
//! never changes its result. Slots bound both the windows and the rows of beams in memory.

mod ahead;
mod aligning;
mod batch;
mod counts;
mod crew;
mod drafting;
mod front;
mod inbox;
mod intake;
mod queue;
mod slot;
mod task;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use aligning::{AlignWay, AlignWords, WatchedHeads};
pub use counts::Counts;
pub use front::Batcher;
pub use inbox::Inbox;

use crate::model::Most;
use crate::options::{DecodingOptions, Gates};
use crate::ranking::Bias;

/// Rows that a window takes with openai/whisper's default of five beams, or five samples.
const ROWS_PER_WINDOW: usize = 5;

/// Memory of windows that is kept while nothing comes, so that the next one need not ask for it.
const IDLE_STATES: usize = 1;

/// Asks running work to stop; clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    asked: AtomicBool,
    /// Stops this work too.
    parent: Option<Cancel>,
}

impl Cancel {
    /// Asks the work to stop at its next step. It ends with
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn cancel(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let parent = self.0.parent.as_ref();
        self.0.asked.load(Ordering::Relaxed) || parent.is_some_and(Self::is_cancelled)
    }

    /// A request of its own, which this one includes.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Request {
            asked: AtomicBool::new(false),
            parent: Some(self.clone()),
        }))
    }
}

/// What may be in memory at once: a window's audio is the larger part, a row's text the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Windows decoded side by side.
    pub windows: usize,
    /// Rows decoded side by side: each window takes as many as it has beams or samples. A window
    /// that takes more than this is decoded alone.
    pub rows: usize,
}

impl Capacity {
    /// Room for this many windows (at least one) of as many beams as openai/whisper's default.
    #[must_use]
    pub fn of_windows(windows: usize) -> Self {
        let windows = windows.max(1);
        Self {
            windows,
            rows: windows * ROWS_PER_WINDOW,
        }
    }
}

impl Capacity {
    /// No more windows, and rows of them, than an executor has memory for.
    fn at_most(self, most: Option<Most>) -> Self {
        match most {
            Some(most) => Self {
                windows: self.windows.min(most.windows),
                rows: self.rows.min(most.rows),
            },
            None => self,
        }
    }
}

/// One window and what is wanted of it.
#[derive(Clone)]
pub struct WindowJob {
    /// Log-mel, `(n_mels, 3000)` row-major.
    pub mel: Vec<f32>,
    /// How to decode it; its language is set.
    pub options: DecodingOptions,
    /// Temperatures and thresholds.
    pub gates: Gates,
    /// Whose window it is: sources take turns.
    pub source: u64,
    /// Stops it.
    pub cancel: Cancel,
    /// Whether its text is aligned with its audio, for word times.
    pub align: Option<AlignWords>,
    /// Phrases to expect.
    pub bias: Option<Arc<Bias>>,
}

impl WindowJob {
    /// Whether its first temperature decodes greedily, so that a draft may write ahead.
    fn is_greedy(&self) -> bool {
        let first = self.gates.temperatures.first().copied().unwrap_or(0.0);
        first == 0.0 && self.options.beam_size.is_none()
    }

    /// Rows that the window takes at any of its temperatures, at most.
    fn rows(&self) -> usize {
        let beams = self.options.beam_size.unwrap_or(1);
        let samples = self.options.best_of.unwrap_or(1);
        let rows = |t: &f64| if *t > 0.0 { samples } else { beams };
        self.gates
            .temperatures
            .iter()
            .map(rows)
            .max()
            .unwrap_or(1)
            .max(1)
    }
}
