//! The way back: where the results of windows arrive, and the promise that one does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};

use crate::decoding::DecodingResult;
use crate::error::{Error, Result};
use crate::transcript::LanguageProbabilities;

/// What a finished job gives.
pub(super) enum Answer {
    Decoded(Box<DecodingResult>),
    Language(LanguageProbabilities),
}

/// Where the results of windows arrive, in the order in which they are ready. Dropping it stops
/// those windows at their next step.
pub struct Inbox {
    sender: Sender<(usize, Result<Answer>)>,
    receiver: Receiver<(usize, Result<Answer>)>,
    listening: Arc<()>,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self {
            sender,
            receiver,
            listening: Arc::new(()),
        }
    }
}

impl Inbox {
    /// Waits for the next result: the tag its window was submitted under, and what came of it.
    /// Only to be called while a window is under way: it waits for ever otherwise.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what went wrong in the network.
    pub fn next(&self) -> Result<(usize, DecodingResult)> {
        match self.take()? {
            (tag, Answer::Decoded(result)) => Ok((tag, *result)),
            (_, Answer::Language(_)) => Err(Error::Engine("an answer to another question".into())),
        }
    }

    /// As [`next`](Self::next), for a question about the language.
    pub(super) fn next_language(&self) -> Result<LanguageProbabilities> {
        match self.take()? {
            (_, Answer::Language(probabilities)) => Ok(probabilities),
            (_, Answer::Decoded(_)) => Err(Error::Engine("an answer to another question".into())),
        }
    }

    fn take(&self) -> Result<(usize, Answer)> {
        // The inbox itself holds a sender, so the channel never closes under it; every reply that
        // was promised comes, as the promise's drop sees to it.
        let (tag, answer) = self
            .receiver
            .recv()
            .map_err(|_| Error::Engine("it has stopped".into()))?;
        Ok((tag, answer?))
    }

    /// A promise to answer here.
    pub(super) fn reply(&self, tag: usize) -> Reply {
        let listening = Arc::downgrade(&self.listening);
        Reply {
            tag,
            sender: Some(self.sender.clone()),
            listening,
        }
    }
}

/// A promise to answer: one that is dropped unanswered answers with an error, so that nobody waits
/// in vain for a worker that is gone.
pub(super) struct Reply {
    tag: usize,
    sender: Option<Sender<(usize, Result<Answer>)>>,
    listening: Weak<()>,
}

impl Reply {
    /// Keeps the promise.
    pub fn send(mut self, answer: Result<Answer>) {
        self.deliver(answer);
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_unwanted(&self) -> bool {
        self.listening.strong_count() == 0
    }

    fn deliver(&mut self, answer: Result<Answer>) {
        if let Some(sender) = self.sender.take() {
            // Whoever asked may have stopped waiting.
            let _ = sender.send((self.tag, answer));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.deliver(Err(Error::Engine("its worker has stopped".into())));
    }
}
