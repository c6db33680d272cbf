//! From the queue to a slot: windows are taken as there is room for them, and encoded.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Capacity;
use super::batcher::{Ask, Task};
use super::inbox::Answer;
use super::queue::FairQueue;
use crate::decoding::{LanguageProbabilities, detect_language};
use crate::error::{Error, Result};
use crate::model::{AudioState, StepWindow, Whisper};
use crate::tokenizer::Tokenizer;

/// Takes windows from the queue and encodes them; several threads may do so at once.
pub(super) struct Intake {
    pub model: Arc<Whisper>,
    pub tokenizer: Arc<Tokenizer>,
    queue: Arc<FairQueue<Task>>,
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Windows in slots, or on their way there, and the rows that they take.
    windows: usize,
    rows: usize,
    /// Memory of windows that are done, which the next ones take over.
    spare: Vec<AudioState>,
    detected: Vec<Detected>,
}

/// What language detection encoded: decoding mostly asks for the same window next.
struct Detected {
    source: u64,
    mel: Vec<f32>,
    audio: AudioState,
}

/// A window that is ready for a slot.
pub(super) struct Encoded {
    pub task: Task,
    pub audio: AudioState,
}

impl Intake {
    pub fn new(
        queue: Arc<FairQueue<Task>>,
        model: Arc<Whisper>,
        tokenizer: Arc<Tokenizer>,
        capacity: Capacity,
    ) -> Self {
        let state = Mutex::default();
        Self {
            model,
            tokenizer,
            queue,
            capacity,
            state,
        }
    }

    /// Up to `count` windows that there is room for. With `wait`, for which nothing may be under way,
    /// at least one; none means that the queue is closed.
    pub fn take_up_to(&self, count: usize, wait: bool) -> Vec<Task> {
        let first = if wait {
            self.queue
                .pop(true, |_| true)
                .inspect(|task| self.lock().reserve(task))
        } else {
            self.take()
        };
        let mut tasks: Vec<Task> = first.into_iter().collect();
        while !tasks.is_empty() && tasks.len() < count {
            let Some(task) = self.take() else { break };
            tasks.push(task);
        }
        tasks
    }

    /// The next window, if there is one and room for it. One that takes more rows than there are
    /// finds room when nothing else is under way.
    pub fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        if state.windows >= self.capacity.windows {
            return None;
        }
        let free = self.capacity.rows.saturating_sub(state.rows);
        let alone = state.windows == 0;
        let task = self.queue.pop(false, |task| alone || task.rows() <= free)?;
        state.reserve(&task);
        Some(task)
    }

    /// Encodes a window; answers at once where that is all, or where it fails.
    pub fn encode(&self, mut task: Task) -> Option<Encoded> {
        let rows = task.rows();
        let mel = std::mem::take(&mut task.job.mel);
        let audio = match task.is_cancelled() {
            true => Err(Error::Cancelled),
            false => caught(|| self.audio_state(task.job.source, &mel)),
        };
        let answer = match audio {
            Ok(audio) if task.ask == Ask::Decode => return Some(Encoded { task, audio }),
            Ok(audio) => {
                let language = caught(|| self.language(&audio));
                self.remember(task.job.source, mel, audio);
                language.map(Answer::Language)
            }
            Err(error) => Err(error),
        };
        self.release(rows, None);
        task.reply.send(answer);
        None
    }

    /// Gives back the room of a window, and its memory to the next one.
    pub fn release(&self, rows: usize, audio: Option<AudioState>) {
        let mut state = self.lock();
        state.windows -= 1;
        state.rows -= rows;
        state.spare.extend(audio);
    }

    /// Answers those in the queue that were cancelled.
    pub fn drop_cancelled(&self) {
        for task in self.queue.remove_if(Task::is_cancelled) {
            task.reply.send(Err(Error::Cancelled));
        }
    }

    fn audio_state(&self, source: u64, mel: &[f32]) -> Result<AudioState> {
        if let Some(audio) = self.lock().recall(source, mel) {
            return Ok(audio);
        }
        let encoded = self.model.encode(mel)?;
        let spare = self.lock().spare.pop();
        match spare {
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

    /// Keeps as many as there may be windows, the oldest leaving first.
    fn remember(&self, source: u64, mel: Vec<f32>, audio: AudioState) {
        let mut state = self.lock();
        if state.detected.len() >= self.capacity.windows {
            let oldest = state.detected.remove(0);
            state.spare.push(oldest.audio);
        }
        state.detected.push(Detected { source, mel, audio });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reserve(&mut self, task: &Task) {
        self.windows += 1;
        self.rows += task.rows();
    }

    /// What detection encoded for this source, if it is the same window; it is asked for once.
    fn recall(&mut self, source: u64, mel: &[f32]) -> Option<AudioState> {
        let at = self.detected.iter().position(|d| d.source == source)?;
        let Detected {
            mel: known, audio, ..
        } = self.detected.remove(at);
        if known == mel {
            return Some(audio);
        }
        self.spare.push(audio);
        None
    }
}

/// A panic in the network or in a custom attention backend becomes an error of the windows that it
/// hit; the next ones start afresh.
pub(super) fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::Engine(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "a panic".into(), |text| format!("a panic: {text}"))
}
