//! From the queue to a slot: windows are taken as there is room for them, and encoded.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::counts::Tally;
use super::crew::Place;
use super::drafting::Draft;
use super::inbox::Answer;
use super::queue::FairQueue;
use super::task::{Ask, Task};
use super::{Capacity, IDLE_STATES};
use crate::decoding::LanguageTokens;
use crate::error::{Error, Result};
use crate::model::{self, AudioState, Network, StepWindow};
use crate::tokenizer::Tokenizer;
use crate::transcript::LanguageProbabilities;

/// Takes windows from the queue and encodes them; several threads may do so at once.
pub(super) struct Intake {
    pub network: Arc<dyn Network>,
    /// Writes ahead of it, where there is one.
    pub draft: Option<Arc<dyn Network>>,
    pub tokenizer: Arc<Tokenizer>,
    pub tally: Arc<Tally>,
    queue: Arc<FairQueue<Task>>,
    place: Place,
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
    pub draft: Option<Draft>,
}

impl Intake {
    pub fn new(
        queue: Arc<FairQueue<Task>>,
        place: Place,
        tally: Arc<Tally>,
        network: Arc<dyn Network>,
        draft: Option<Arc<dyn Network>>,
        tokenizer: Arc<Tokenizer>,
        capacity: Capacity,
    ) -> Self {
        let state = Mutex::default();
        Self {
            network,
            draft,
            tokenizer,
            tally,
            queue,
            place,
            capacity,
            state,
        }
    }

    /// Whether something comes within that time. If not, what is kept for windows to come is given back.
    pub fn has_work_within(&self, time: Duration) -> bool {
        let comes = self.queue.wait(time);
        if !comes {
            let mut state = self.lock();
            state.spare.truncate(IDLE_STATES);
            state.detected = Vec::new();
        }
        comes
    }

    /// Up to `count` windows that there is room for. With `wait`, for which nothing may be under way,
    /// at least one; none means that the queue is closed.
    pub fn take_up_to(&self, count: usize, wait: bool) -> Vec<Task> {
        if self.place.has_retired() {
            return Vec::new();
        }
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
        if state.windows >= self.capacity.windows || self.place.has_retired() {
            return None;
        }
        let free = self.capacity.rows.saturating_sub(state.rows);
        let alone = state.windows == 0;
        let task = self.queue.pop(false, |task| alone || task.rows() <= free)?;
        state.reserve(&task);
        Some(task)
    }

    /// Encodes windows in one call; answers at once those for which that is all, or which fail.
    pub fn encode(&self, tasks: Vec<Task>) -> Vec<Encoded> {
        let mut encoded = Vec::with_capacity(tasks.len());
        let mut fresh = Vec::with_capacity(tasks.len());
        for mut task in tasks {
            let mel = std::mem::take(&mut task.job.mel);
            if task.is_cancelled() {
                self.give_up(task, None, Error::Cancelled);
            } else if let Some(audio) = self.lock().recall(task.job.source, &mel) {
                encoded.extend(self.use_audio(task, mel, audio));
            } else {
                fresh.push((task, mel));
            }
        }
        let mut pending = Vec::with_capacity(fresh.len());
        for (mut task, mel) in fresh {
            match self.audio() {
                Ok(audio) => pending.push((task, mel, audio)),
                Err(error) => {
                    task.job.mel = mel;
                    self.give_up(task, None, error);
                }
            }
        }
        for (mut task, mel, audio, outcome) in self.encode_all(pending) {
            match outcome {
                Ok(()) => encoded.extend(self.use_audio(task, mel, audio)),
                Err(error) => {
                    task.job.mel = mel;
                    self.give_up(task, Some(audio), error);
                }
            }
        }
        encoded
    }

    /// Memory for a window's audio. Where there is no more, what detection encoded gives way.
    fn audio(&self) -> Result<AudioState> {
        let mut state = self.lock();
        if let Some(spare) = state.spare.pop() {
            return Ok(spare);
        }
        match self.network.audio_state() {
            Err(_) if !state.detected.is_empty() => Ok(state.detected.remove(0).audio),
            other => other,
        }
    }

    /// Encodes into the states; if a call fails, each window by itself, so that one bad window does not end
    /// its neighbours.
    fn encode_all(
        &self,
        windows: Vec<(Task, Vec<f32>, AudioState)>,
    ) -> Vec<(Task, Vec<f32>, AudioState, Result<()>)> {
        let (mut rest, mut mels, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for (task, mel, state) in windows {
            rest.push(task);
            mels.push(mel);
            states.push(state);
        }
        let views: Vec<&[f32]> = mels.iter().map(Vec::as_slice).collect();
        let encode = |mels: &[&[f32]], states: &mut [AudioState]| {
            caught(|| self.network.encode(mels, states))
        };
        let started = Instant::now();
        let outcomes: Vec<Result<()>> = match encode(&views, &mut states) {
            Ok(()) => views.iter().map(|_| Ok(())).collect(),
            Err(error) if views.len() == 1 => vec![Err(error)],
            Err(_) => views
                .chunks(1)
                .zip(states.chunks_mut(1))
                .map(|(mel, state)| encode(mel, state))
                .collect(),
        };
        self.tally.encoded(outcomes.len(), started);
        if outcomes.iter().any(Result::is_ok) {
            self.tally.worked();
        }
        let whole = rest.into_iter().zip(mels).zip(states).zip(outcomes);
        whole
            .map(|(((task, mel), state), outcome)| (task, mel, state, outcome))
            .collect()
    }

    /// A window with its audio is ready for a slot, or answered if only its language was wanted.
    fn use_audio(&self, mut task: Task, mel: Vec<f32>, audio: AudioState) -> Option<Encoded> {
        if task.ask == Ask::Decode {
            let draft = self.draft(&task, &mel);
            // For another worker, should this one's device be lost.
            if self.place.has_others() {
                task.job.mel = mel;
            }
            return Some(Encoded { task, audio, draft });
        }
        match caught(|| self.language(&audio)) {
            Ok(language) => {
                self.remember(task.job.source, mel, audio);
                self.release(task.rows(), None);
                task.reply.send(Ok(Answer::Language(language)));
            }
            Err(error) => {
                task.job.mel = mel;
                self.give_up(task, Some(audio), error);
            }
        }
        None
    }

    /// The window as the draft hears it. One that fails is left out.
    fn draft(&self, task: &Task, mel: &[f32]) -> Option<Draft> {
        let network = self.draft.as_ref().filter(|_| task.job.is_greedy())?;
        let encoded = caught(|| {
            let mut audio = [network.audio_state()?];
            network.encode(&[mel], &mut audio)?;
            let [audio] = audio;
            Ok(Draft::new(audio, network.text_state(1)?))
        });
        encoded.ok()
    }

    /// Answers for a window that failed; where the device did, the other workers begin it again.
    pub fn give_up(&self, task: Task, audio: Option<AudioState>, error: Error) {
        self.release(task.rows(), audio);
        let whole = !task.job.mel.is_empty();
        if matches!(error, Error::Device { .. }) && whole && self.place.retire() {
            return self.place.hand_over(task);
        }
        task.reply.send(Err(error));
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

    fn language(&self, audio: &AudioState) -> Result<LanguageProbabilities> {
        let languages = LanguageTokens::new(&self.tokenizer)?;
        let mut text = self.network.text_state(1)?;
        let window = StepWindow {
            audio,
            text: &mut text,
            tokens: &[self.tokenizer.sot()],
            rows: 1,
            queries: vec![languages.query()],
        };
        match &*model::step(&*self.network, &mut [window])? {
            [answer] => Ok(languages.probabilities(answer)),
            _ => Err(Error::Engine("no answer to one question".into())),
        }
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
