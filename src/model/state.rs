//! What belongs to one window while it is decoded, as the batcher sees it: opaque.

use std::any::Any;

use super::foreign;
use crate::error::Result;

/// The audio of one window as the decoder's cross-attention sees it: written by
/// [`Network::encode`](super::Network::encode), then only read.
pub struct AudioState(Box<dyn Any + Send + Sync>);

impl AudioState {
    /// Wraps an executor's memory.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(memory: T) -> Self {
        Self(Box::new(memory))
    }

    /// The executor's memory.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine) where it is another executor's.
    pub fn memory<T: Any>(&self) -> Result<&T> {
        self.0.downcast_ref().ok_or_else(|| foreign("audio state"))
    }

    /// As [`memory`](Self::memory), to be written.
    ///
    /// # Errors
    /// As there.
    pub fn memory_mut<T: Any>(&mut self) -> Result<&mut T> {
        self.0.downcast_mut().ok_or_else(|| foreign("audio state"))
    }
}

/// An executor's side of a [`TextState`].
pub trait TextMemory: Any + Send + Sync {
    /// Tokens that each beam has seen.
    fn len(&self) -> usize;

    /// Whether no token has been seen.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`TextState::reset`].
    fn reset(&mut self, beams: usize);

    /// As [`TextState::reorder`].
    fn reorder(&mut self, parents: &[usize]);

    /// As [`TextState::truncate`].
    fn truncate(&mut self, len: usize);

    /// As [`TextState::watch`].
    fn watch(&mut self, heads: &[(usize, usize)]);
}

/// The text of one window as the decoder's self-attention sees it (its KV cache): one row per beam.
///
/// All beams are equally long. The prompt is fed as one row, which all beams fork from without a copy.
pub struct TextState(Box<dyn TextMemory>);

impl TextState {
    /// Wraps an executor's memory.
    #[must_use]
    pub fn new(memory: impl TextMemory) -> Self {
        Self(Box::new(memory))
    }

    /// Ready for another prompt, with `beams` rows; what its memory was may be used again. No head
    /// is watched any more.
    pub fn reset(&mut self, beams: usize) {
        self.0.reset(beams);
    }

    /// Tokens each beam has seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no token has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Beam `i` continues what beam `parents[i]` was.
    pub fn reorder(&mut self, parents: &[usize]) {
        self.0.reorder(parents);
    }

    /// Forgets all tokens of each beam but the first `len`, as if they had never been fed. Beams that were
    /// [reordered](Self::reorder) since the last step must not be.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// From the next step on, keeps what [`Network::cross_weights`](super::Network::cross_weights) needs of
    /// these heads: `(layer, head)` each. Only to be called while the text is empty.
    pub fn watch(&mut self, heads: &[(usize, usize)]) {
        self.0.watch(heads);
    }

    /// The executor's memory.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine) where it is another executor's.
    pub fn memory<T: Any>(&self) -> Result<&T> {
        let memory: &dyn Any = &*self.0;
        memory.downcast_ref().ok_or_else(|| foreign("text state"))
    }

    /// As [`memory`](Self::memory), to be written.
    ///
    /// # Errors
    /// As there.
    pub fn memory_mut<T: Any>(&mut self) -> Result<&mut T> {
        let memory: &mut dyn Any = &mut *self.0;
        memory.downcast_mut().ok_or_else(|| foreign("text state"))
    }
}

/// What a window costs while it is decoded, in bytes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBytes {
    /// A window's audio: every layer's keys and values at every position.
    pub window: usize,
    /// A row's text, when all of the text context is used.
    pub row: usize,
}

impl StateBytes {
    /// What `windows` of `rows` in all cost, at most; language detection holds as many windows more.
    #[must_use]
    pub fn of(self, windows: usize, rows: usize) -> usize {
        2 * windows * self.window + (windows + rows) * self.row
    }
}
