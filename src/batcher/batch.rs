//! The windows that are decoded together, and a step of them all.

use super::inbox::Answer;
use super::intake::{Encoded, Intake, caught};
use super::slot::Slot;
use crate::decoding::DecodingResult;
use crate::error::{Error, Result};
use crate::model::TextState;

/// Windows in their slots.
#[derive(Default)]
pub(super) struct Batch {
    slots: Vec<Slot>,
    /// Memory of windows that are done, which the next ones take over.
    spare: Vec<TextState>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Windows in it.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives a window a slot: it takes part from the next step on.
    pub fn open(&mut self, encoded: Encoded, intake: &Intake) {
        let Encoded { task, audio } = encoded;
        let text = self.spare.pop();
        let text = text.unwrap_or_else(|| intake.model.text_state(1));
        match Slot::decoder(&intake.model, &intake.tokenizer, &task.job, 0) {
            Ok(decoder) => self
                .slots
                .push(Slot::new(task.job, task.reply, audio, text, decoder)),
            Err(error) => {
                intake.release(task.rows(), Some(audio));
                task.reply.send(Err(error));
            }
        }
    }

    /// One step of every window that is still wanted, and what follows from it.
    pub fn step(&mut self, intake: &Intake) {
        intake.drop_cancelled();
        for slot in self.slots.extract_if(.., |slot| slot.is_cancelled()) {
            close(&mut self.spare, intake, slot, Err(Error::Cancelled));
        }
        if self.slots.is_empty() {
            return;
        }
        if let Err(error) = caught(|| self.try_step(intake)) {
            // A step that failed leaves no state behind that could be stepped on.
            for slot in self.slots.drain(..) {
                let error = Error::Engine(error.to_string());
                close(&mut self.spare, intake, slot, Err(error));
            }
        }
    }

    fn try_step(&mut self, intake: &Intake) -> Result<()> {
        let mut feeds: Vec<_> = self.slots.iter_mut().map(Slot::feed).collect();
        let logits = intake.model.step(&mut feeds)?;
        let (storage, layout) = logits.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(Error::Engine(
                "its logits are not in the processor's memory".into(),
            ));
        };
        let logits = &storage.as_slice::<f32>()?[layout.start_offset()..];
        let outcomes = self.advance(intake, logits);
        self.close_done(intake, outcomes);
        Ok(())
    }

    /// Hands each window its logits. Ranking takes long enough, with many rows, to be shared among
    /// the kernels' threads.
    fn advance(
        &mut self,
        intake: &Intake,
        mut logits: &[f32],
    ) -> Vec<Result<Option<DecodingResult>>> {
        struct Turn<'a> {
            slot: &'a mut Slot,
            logits: &'a [f32],
            outcome: Result<Option<DecodingResult>>,
        }
        let (model, tokenizer) = (&*intake.model, &intake.tokenizer);
        let mut turns = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let (own, rest) = logits.split_at(slot.wanted() * model.dims().n_vocab);
            logits = rest;
            turns.push(Turn {
                slot,
                logits: own,
                outcome: Ok(None),
            });
        }
        intake
            .model
            .cpu()
            .pool()
            .run_chunks(&mut turns, 1, |_, turns| {
                for turn in turns {
                    turn.outcome = turn.slot.advance(model, tokenizer, turn.logits);
                }
            });
        turns.into_iter().map(|turn| turn.outcome).collect()
    }

    /// Answers for the windows that are done and keeps the others.
    fn close_done(&mut self, intake: &Intake, outcomes: Vec<Result<Option<DecodingResult>>>) {
        let mut kept = Vec::with_capacity(self.slots.len());
        for (slot, outcome) in self.slots.drain(..).zip(outcomes) {
            let answer = match outcome {
                Ok(None) => {
                    kept.push(slot);
                    continue;
                }
                Ok(Some(result)) => Ok(Answer::Decoded(Box::new(result))),
                Err(error) => Err(error),
            };
            close(&mut self.spare, intake, slot, answer);
        }
        self.slots = kept;
    }
}

/// Answers for a slot and keeps its memory: of the text one row, so that spare states are never
/// larger than those of windows without beams.
fn close(spare: &mut Vec<TextState>, intake: &Intake, slot: Slot, answer: Result<Answer>) {
    let Slot {
        job,
        reply,
        audio,
        mut text,
        ..
    } = slot;
    text.reset(1);
    spare.push(text);
    intake.release(job.rows(), Some(audio));
    reply.send(answer);
}
