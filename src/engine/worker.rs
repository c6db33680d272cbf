//! The worker that steps all windows in its slots together.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Capacity;
use super::batcher::{Ask, Task};
use super::inbox::Answer;
use super::queue::FairQueue;
use super::slot::Slot;
use crate::decoding::{DecodingResult, LanguageProbabilities, detect_language};
use crate::error::{Error, Result};
use crate::model::{AudioState, StepWindow, TextState, Whisper};
use crate::tokenizer::Tokenizer;

pub(super) struct Worker {
    queue: Arc<FairQueue<Task>>,
    model: Arc<Whisper>,
    tokenizer: Arc<Tokenizer>,
    capacity: Capacity,
    slots: Vec<Slot>,
    spare: Spare,
    /// The window that language detection encoded last: decoding often asks for the same one.
    encoded: Option<(Vec<f32>, AudioState)>,
}

/// States of windows that are done, whose memory the next ones take over.
#[derive(Default)]
struct Spare {
    audio: Vec<AudioState>,
    text: Vec<TextState>,
}

impl Worker {
    pub fn new(
        queue: Arc<FairQueue<Task>>,
        model: Arc<Whisper>,
        tokenizer: Arc<Tokenizer>,
        capacity: Capacity,
    ) -> Self {
        let (slots, spare, encoded) = (Vec::new(), Spare::default(), None);
        Self {
            queue,
            model,
            tokenizer,
            capacity,
            slots,
            spare,
            encoded,
        }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        while self.admit() {
            self.drop_cancelled();
            if let Err(error) = caught(|| self.step()) {
                self.fail_all(&error);
            }
        }
    }

    /// Fills free slots; waits only when there is nothing to step. False ends the worker.
    ///
    /// A step reads all weights once whatever the number of rows, so slots are filled before
    /// anybody steps on, even though those in other slots wait for an encoder pass.
    fn admit(&mut self) -> bool {
        while self.slots.len() < self.capacity.windows {
            let idle = self.slots.is_empty();
            let taken: usize = self.slots.iter().map(|slot| slot.job.rows()).sum();
            let free = self.capacity.rows.saturating_sub(taken);
            let Some(task) = self.queue.pop(idle, |task| idle || task.rows() <= free) else {
                return !idle;
            };
            self.start(task);
        }
        true
    }

    /// Gives a window a slot, or answers at once.
    fn start(&mut self, mut task: Task) {
        if task.is_cancelled() {
            return task.reply.send(Err(Error::Cancelled));
        }
        let mel = std::mem::take(&mut task.job.mel);
        let audio = match caught(|| self.audio_state(&mel)) {
            Ok(audio) => audio,
            Err(error) => return task.reply.send(Err(error)),
        };
        match task.ask {
            Ask::Decode => self.open_slot(task, audio),
            Ask::DetectLanguage => {
                let language = caught(|| self.language(&audio));
                self.encoded = Some((mel, audio));
                task.reply.send(language.map(Answer::Language));
            }
        }
    }

    fn open_slot(&mut self, task: Task, audio: AudioState) {
        let Task { job, reply, .. } = task;
        let text = self
            .spare
            .text
            .pop()
            .unwrap_or_else(|| self.model.text_state(1));
        match Slot::decoder(&self.model, &self.tokenizer, &job, 0) {
            Ok(decoder) => self.slots.push(Slot::new(job, reply, audio, text, decoder)),
            Err(error) => {
                self.spare.audio.push(audio);
                reply.send(Err(error));
            }
        }
    }

    fn audio_state(&mut self, mel: &[f32]) -> Result<AudioState> {
        if let Some((known, audio)) = self.encoded.take() {
            if known == mel {
                return Ok(audio);
            }
            self.spare.audio.push(audio);
        }
        let encoded = self.model.encode(mel)?;
        match self.spare.audio.pop() {
            Some(mut state) => {
                self.model.refill_audio_state(&encoded, &mut state)?;
                Ok(state)
            }
            None => self.model.audio_state(&encoded),
        }
    }

    fn language(&self, audio: &AudioState) -> Result<LanguageProbabilities> {
        let mut text = self.model.text_state(1);
        let logits = self.model.step(&mut [StepWindow {
            audio,
            text: &mut text,
            tokens: &[self.tokenizer.sot()],
            rows: 1,
            logits_at: &[0],
        }])?;
        detect_language(&self.tokenizer, &logits.flatten_all()?.to_vec1::<f32>()?)
    }

    /// One step of every window, and what follows from it.
    fn step(&mut self) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let mut feeds: Vec<_> = self.slots.iter_mut().map(Slot::feed).collect();
        let logits = self.model.step(&mut feeds)?;
        let (storage, layout) = logits.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(Error::Engine(
                "its logits are not in the processor's memory".into(),
            ));
        };
        let outcomes = self.advance(&storage.as_slice::<f32>()?[layout.start_offset()..]);
        self.close_slots(outcomes);
        Ok(())
    }

    /// Hands each window its logits. Ranking takes long enough, with many rows, to be shared among
    /// the kernels' threads.
    fn advance(&mut self, mut logits: &[f32]) -> Vec<Result<Option<DecodingResult>>> {
        struct Turn<'a> {
            slot: &'a mut Slot,
            logits: &'a [f32],
            outcome: Result<Option<DecodingResult>>,
        }
        let (model, tokenizer) = (&*self.model, &self.tokenizer);
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
        model.cpu().pool().run_chunks(&mut turns, 1, |_, turns| {
            for turn in turns {
                turn.outcome = turn.slot.advance(model, tokenizer, turn.logits);
            }
        });
        turns.into_iter().map(|turn| turn.outcome).collect()
    }

    /// Answers for the windows that are done and keeps the others.
    fn close_slots(&mut self, outcomes: Vec<Result<Option<DecodingResult>>>) {
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
            self.spare.take_from(slot, answer);
        }
        self.slots = kept;
    }

    fn drop_cancelled(&mut self) {
        for task in self.queue.remove_if(Task::is_cancelled) {
            task.reply.send(Err(Error::Cancelled));
        }
        for slot in self.slots.extract_if(.., |slot| slot.is_cancelled()) {
            self.spare.take_from(slot, Err(Error::Cancelled));
        }
    }

    /// A step that failed leaves no state behind that could be stepped on.
    fn fail_all(&mut self, error: &Error) {
        for slot in self.slots.drain(..) {
            self.spare
                .take_from(slot, Err(Error::Engine(error.to_string())));
        }
    }
}

impl Spare {
    /// Answers for a slot and keeps its memory: of the text one row, so that spare states are never
    /// larger than those of windows without beams.
    fn take_from(&mut self, slot: Slot, answer: Result<Answer>) {
        let Slot {
            reply,
            audio,
            mut text,
            ..
        } = slot;
        text.reset(1);
        self.audio.push(audio);
        self.text.push(text);
        reply.send(answer);
    }
}

/// A panic in the network or in a custom attention backend becomes an error of the windows that it
/// hit; the next ones start afresh.
fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::Engine(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "a panic".into(), |text| format!("a panic: {text}"))
}
