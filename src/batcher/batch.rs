//! The windows that are decoded together, and a step of them all.

use std::time::Instant;

use super::IDLE_STATES;
use super::ahead::write_ahead;
use super::inbox::Answer;
use super::intake::{Encoded, Intake, caught};
use super::slot::Slot;
use super::task::{Ask, Task};
use crate::decoding::DecodingResult;
use crate::error::{Error, Result};
use crate::model::{self, StepWindow, TextState};

/// What a step brings a window: nothing yet, its result, or an error.
type Outcome = Result<Option<DecodingResult>>;

/// Numbers of weights whose memory is kept between windows: 16 MB.
const MOST_KEPT: usize = 4 << 20;

/// Windows in their slots.
#[derive(Default)]
pub(super) struct Batch {
    slots: Vec<Slot>,
    /// Memory of windows that are done, which the next ones take over.
    spare: Vec<TextState>,
    /// Memory for the weights that words are aligned by: a window's are too many to clear pages for each time.
    weights: Vec<f32>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Windows in it.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives back what is kept for windows to come.
    pub fn rest(&mut self) {
        self.spare.truncate(IDLE_STATES);
    }

    /// Gives a window a slot: it takes part from the next step on.
    pub fn open(&mut self, encoded: Encoded, intake: &Intake) {
        let Encoded { task, audio, draft } = encoded;
        let network = &*intake.network;
        let text = self.spare.pop();
        let text = text.map_or_else(|| network.text_state(1), Ok);
        let decoder = Slot::decoder(network, &intake.tokenizer, &task.job, 0);
        match text.and_then(|text| Ok((text, decoder?))) {
            Ok((text, decoder)) => {
                let mut slot = Slot::new(task.job, task.reply, audio, text, decoder, draft);
                match slot.align_given(network, &intake.tokenizer) {
                    Ok(()) => self.slots.push(slot),
                    Err(error) => close(&mut self.spare, intake, slot, Err(error)),
                }
            }
            Err(error) => intake.give_up(task, Some(audio), error),
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
        if let Some(draft) = &intake.draft {
            write_ahead(&**draft, &mut self.slots);
        }
        let weights = &mut self.weights;
        let outcomes = match step_together(intake, &mut self.slots, weights) {
            Ok(outcomes) => outcomes,
            Err(error) if self.slots.len() == 1 => vec![Err(error)],
            // One bad window does not end its neighbours: each is stepped by itself.
            Err(_) => self
                .slots
                .chunks_mut(1)
                .map(|slot| step_together(intake, slot, weights)?.remove(0))
                .collect(),
        };
        self.weights.truncate(MOST_KEPT);
        self.weights.shrink_to(MOST_KEPT);
        self.close_done(intake, outcomes);
    }

    /// Answers for the windows that are done and keeps the others.
    fn close_done(&mut self, intake: &Intake, outcomes: Vec<Outcome>) {
        // Most steps end no window; slots are large to move.
        if outcomes.iter().all(|outcome| matches!(outcome, Ok(None))) {
            return;
        }
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

/// A step of these windows, each handed its answers. If it fails, their states are as they were.
fn step_together(
    intake: &Intake,
    slots: &mut [Slot],
    weights: &mut Vec<f32>,
) -> Result<Vec<Outcome>> {
    let network = &*intake.network;
    let mut counts = Vec::with_capacity(slots.len());
    let answers = caught(|| {
        let mut windows: Vec<StepWindow<'_>> = slots.iter_mut().map(Slot::feed).collect();
        counts.extend(windows.iter().map(|window| window.queries.len()));
        let (rows, started) = (windows.iter().map(|w| w.rows).sum(), Instant::now());
        let answers = model::step(network, &mut windows);
        intake.tally.stepped(rows, started);
        answers.inspect(|_| intake.tally.worked())
    })?;
    let mut answers = answers.as_slice();
    let mut advance = |(slot, count): (&mut Slot, usize)| {
        let (own, rest) = answers.split_at(count.min(answers.len()));
        answers = rest;
        caught(|| slot.advance(network, &intake.tokenizer, own, weights))
    };
    Ok(slots.iter_mut().zip(counts).map(&mut advance).collect())
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
    match answer {
        Ok(answer) => {
            intake.release(job.rows(), Some(audio));
            reply.send(Ok(answer));
        }
        Err(error) => {
            let ask = Ask::Decode;
            intake.give_up(Task { ask, job, reply }, Some(audio), error);
        }
    }
}
