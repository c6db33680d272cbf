//! Speculative decoding (arXiv 2211.17192, its greedy case): a smaller model writes ahead, and the model itself
//! looks at all of it in one step.
//!
//! In: windows whose text goes on greedily. Out: tokens to feed behind their last ones. Every token of the text is
//! still the model's own answer under the rules at its place; what was written ahead only decides how many answers
//! one step brings. A draft that fails or has no room writes nothing, and the window goes on as without it.

use super::intake::caught;
use super::slot::Slot;
use crate::decoding::{Drafted, WindowDecoder};
use crate::error::Result;
use crate::model::{self, AudioState, Network, StepWindow, TextState};
use crate::ranking::Answer;

/// Tokens that are written ahead, at most. With the one before them three are fed: up to so many new tokens of a
/// row the CPU attends to one by one, to the same bit as in steps of their own.
const AHEAD: usize = 2;

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
    fn begin(&mut self, known: &[u32]) {
        self.ahead.clear();
        // The last known token is always fed: its answer is the first one ahead.
        self.text.truncate(known.len().saturating_sub(1));
        self.behind.clear();
        self.behind.extend_from_slice(&known[self.text.len()..]);
    }

    fn feed<'a>(&'a mut self, decoder: &'a WindowDecoder) -> StepWindow<'a> {
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
    fn write(&mut self, answer: &Answer, end: u32) -> bool {
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

/// Lets the smaller model write ahead in every window that goes on greedily.
pub(super) fn write_ahead(network: &dyn Network, slots: &mut [Slot]) {
    let mut writing: Vec<&mut Slot> = slots.iter_mut().filter_map(begin).collect();
    for _ in 0..AHEAD {
        writing.retain(|slot| has_room(slot, network));
        if writing.is_empty() {
            return;
        }
        match caught(|| step(network, &mut writing)) {
            Ok(answers) => {
                let mut answers = answers.iter();
                writing.retain_mut(|slot| {
                    let (draft, end) = (slot.draft.as_mut(), slot.end);
                    let answer = answers.next();
                    draft
                        .zip(answer)
                        .is_some_and(|(draft, answer)| draft.write(answer, end))
                });
            }
            // The model does without.
            Err(_) => writing.drain(..).for_each(|slot| slot.draft = None),
        }
    }
}

fn begin(slot: &mut Slot) -> Option<&mut Slot> {
    let known = slot.known_greedily()?;
    slot.draft.as_mut()?.begin(&known);
    Some(slot)
}

/// Whether both models have room for one more token ahead, and the one that is chosen behind it.
fn has_room(slot: &Slot, network: &dyn Network) -> bool {
    slot.draft.as_ref().is_some_and(|draft| {
        let most = network.dims().n_text_ctx;
        slot.text.len() + 2 + draft.ahead.len() < most
            && draft.text.len() + draft.behind.len() < most
    })
}

fn step(network: &dyn Network, writing: &mut [&mut Slot]) -> Result<Vec<Answer>> {
    let windows = writing.iter_mut().filter_map(|slot| {
        let Slot { draft, decoder, .. } = &mut **slot;
        Some(draft.as_mut()?.feed(decoder))
    });
    let mut windows: Vec<StepWindow<'_>> = windows.collect();
    model::step(network, &mut windows)
}
