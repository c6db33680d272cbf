//! Speculative decoding (arXiv 2211.17192, its greedy case): a smaller model writes ahead, and the model itself
//! looks at all of it in one step.
//!
//! In: windows whose text goes on greedily. Out: tokens to feed behind their last ones. Every token of the text is
//! still the model's own answer under the rules at its place; what was written ahead only decides how many answers
//! one step brings. A draft that fails or has no room writes nothing, and the window goes on as without it.

use crate::decoding::{Drafted, WindowDecoder};
use crate::model::{AudioState, StepWindow, TextState};
use crate::ranking::Answer;

/// A window as the smaller model knows it.
pub(super) struct Draft {
    audio: AudioState,
    text: TextState,
    /// Written ahead, to be looked at in the next step.
    ahead: Vec<u32>,
    /// What the smaller model has not been fed yet.
    behind: Vec<u32>,
    counts: Drafted,
}

impl Draft {
    pub fn new(audio: AudioState, text: TextState) -> Self {
        Self {
            audio,
            text,
            ahead: Vec::new(),
            behind: Vec::new(),
            counts: Drafted::default(),
        }
    }

    pub fn ahead(&self) -> &[u32] {
        &self.ahead
    }

    pub fn counts(&self) -> Drafted {
        self.counts
    }

    /// Begins to write behind `known`, the window's tokens from its prompt on.
    pub fn begin(&mut self, known: &[u32]) {
        self.ahead.clear();
        // The last known token is always fed: its answer is the first one ahead.
        self.text.truncate(known.len().saturating_sub(1));
        self.behind.clear();
        self.behind.extend_from_slice(&known[self.text.len()..]);
    }

    pub fn feed<'a>(&'a mut self, decoder: &'a WindowDecoder) -> StepWindow<'a> {
        let at = self.behind.len() - 1;
        StepWindow {
            audio: &self.audio,
            text: &mut self.text,
            tokens: &self.behind,
            rows: 1,
            queries: vec![decoder.query_behind(&self.ahead, at)],
        }
    }

    /// Takes the next token ahead; false where there is none.
    pub fn write(&mut self, answer: &Answer, end: u32) -> bool {
        let token = answer.choice().map(|choice| choice.token);
        self.behind.clear();
        match token.filter(|token| *token != end) {
            Some(token) => {
                self.ahead.push(token);
                self.behind.push(token);
                true
            }
            None => false,
        }
    }

    /// Whether a context of `most` tokens has room for what is to be fed.
    pub fn has_room(&self, most: usize) -> bool {
        self.text.len() + self.behind.len() < most
    }

    /// How much of what was written ahead the model has said itself.
    pub fn judged(&mut self, accepted: usize) {
        if !self.ahead.is_empty() {
            self.counts.steps += 1;
            self.counts.proposed += self.ahead.len();
            self.counts.accepted += accepted;
        }
        self.ahead.clear();
    }
}
