//! The smaller model's turn of a step: it writes ahead in all windows together, before the model looks at them.

use super::intake::caught;
use super::slot::Slot;
use crate::error::Result;
use crate::model::{self, Network, StepWindow};
use crate::ranking::Answer;

/// Tokens that are written ahead, at most. With the one before them three are fed: up to so many new tokens of a
/// row the CPU attends to one by one, to the same bit as in steps of their own.
const AHEAD: usize = 2;

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
        slot.text.len() + 2 + draft.ahead().len() < most && draft.has_room(most)
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
