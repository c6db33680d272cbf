//! What goes through the queue: a window, what is wanted of it, and where the answer goes.

use super::WindowJob;
use super::inbox::Reply;

/// What is wanted of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Decode,
    DetectLanguage,
}

/// A window on its way to the worker.
pub(super) struct Task {
    pub ask: Ask,
    pub job: WindowJob,
    pub reply: Reply,
}

impl Task {
    pub fn is_cancelled(&self) -> bool {
        self.job.cancel.is_cancelled() || self.reply.is_unwanted()
    }

    /// Rows it needs to be free. Detection leaves nothing behind.
    pub fn rows(&self) -> usize {
        if self.ask == Ask::Decode {
            self.job.rows()
        } else {
            0
        }
    }
}
