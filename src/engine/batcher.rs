//! The worker that steps all windows in its slots together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::queue::FairQueue;
use super::slot::Slot;
use super::{Answer, WindowJob};
use crate::decoding::{DecodingResult, LanguageProbabilities, detect_language};
use crate::error::{Error, Result};
use crate::model::{AudioState, StepWindow, Whisper};
use crate::tokenizer::Tokenizer;

/// Windows waiting for a slot, at most; a source that offers more waits.
const QUEUE_CAPACITY: usize = 64;

/// A queue of windows and the thread that decodes them.
pub struct Batcher {
    queue: Arc<FairQueue<Task>>,
    worker: Option<JoinHandle<()>>,
}

enum Ask {
    Decode,
    DetectLanguage,
}

struct Task {
    ask: Ask,
    job: WindowJob,
    reply: Sender<Result<Answer>>,
}

/// A window's result that is still to come.
pub struct Pending(Receiver<Result<Answer>>);

impl Pending {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what went wrong in the network.
    pub fn wait(self) -> Result<DecodingResult> {
        match self.0.recv() {
            Ok(Ok(Answer::Decoded(result))) => Ok(*result),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Answer::Language(_))) | Err(_) => Err(stopped()),
        }
    }
}

impl Batcher {
    /// Starts a worker with room for `slots` windows.
    #[must_use]
    pub fn new(model: Arc<Whisper>, tokenizer: Arc<Tokenizer>, slots: usize) -> Self {
        let queue = Arc::new(FairQueue::new(QUEUE_CAPACITY));
        let worker = Worker {
            queue: queue.clone(),
            model,
            tokenizer,
            capacity: slots.max(1),
            slots: Vec::new(),
            encoded: None,
        };
        let worker = std::thread::Builder::new()
            .name("undertone-batcher".into())
            .spawn(move || worker.run())
            .expect("the system can start a thread");
        Self { queue, worker: Some(worker) }
    }

    /// Queues a window for decoding; waits while the queue is full.
    ///
    /// # Errors
    /// If the worker has stopped.
    pub fn submit(&self, job: WindowJob) -> Result<Pending> {
        Ok(Pending(self.ask(Ask::Decode, job)?))
    }

    /// Asks which language a window is in.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what went wrong in the network.
    pub fn detect_language(&self, job: WindowJob) -> Result<LanguageProbabilities> {
        match self.ask(Ask::DetectLanguage, job)?.recv() {
            Ok(Ok(Answer::Language(probabilities))) => Ok(probabilities),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Answer::Decoded(_))) | Err(_) => Err(stopped()),
        }
    }

    fn ask(&self, ask: Ask, job: WindowJob) -> Result<Receiver<Result<Answer>>> {
        let (reply, answer) = channel();
        let source = job.source;
        self.queue.push(source, Task { ask, job, reply }).map_err(|_| stopped())?;
        Ok(answer)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has told its story on stderr; there is nobody left to tell.
            let _ = worker.join();
        }
    }
}

fn stopped() -> Error {
    Error::Attention("the engine's worker has stopped".into())
}

struct Worker {
    queue: Arc<FairQueue<Task>>,
    model: Arc<Whisper>,
    tokenizer: Arc<Tokenizer>,
    capacity: usize,
    slots: Vec<Slot>,
    /// The window that language detection encoded last: decoding often asks for the same one.
    encoded: Option<(Arc<[f32]>, Arc<AudioState>)>,
}

impl Worker {
    fn run(mut self) {
        while self.admit() {
            self.drop_cancelled();
            if let Err(error) = self.step() {
                self.fail_all(&error);
            }
        }
    }

    /// Fills free slots; waits only when there is nothing to step. False ends the worker.
    fn admit(&mut self) -> bool {
        while self.slots.len() < self.capacity {
            match self.queue.pop(self.slots.is_empty()) {
                Some(task) => self.start(task),
                None => return !self.slots.is_empty(),
            }
        }
        true
    }

    fn start(&mut self, task: Task) {
        let Task { ask, job, reply } = task;
        if job.cancel.is_cancelled() {
            return answer(&reply, Err(Error::Cancelled));
        }
        let audio = match self.audio_state(&job.mel) {
            Ok(audio) => audio,
            Err(error) => return answer(&reply, Err(error)),
        };
        match ask {
            Ask::Decode => match Slot::new(&self.model, &self.tokenizer, job, audio, reply) {
                Ok(slot) => self.slots.push(slot),
                Err((reply, error)) => answer(&reply, Err(error)),
            },
            Ask::DetectLanguage => {
                answer(&reply, self.language(&audio).map(Answer::Language));
                self.encoded = Some((job.mel, audio));
            }
        }
    }

    fn audio_state(&mut self, mel: &Arc<[f32]>) -> Result<Arc<AudioState>> {
        if let Some((known, audio)) = self.encoded.take()
            && known == *mel
        {
            return Ok(audio);
        }
        let encoded = self.model.encode(mel)?;
        Ok(Arc::new(self.model.audio_state(&encoded)?))
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
        let n_vocab = self.model.dims().n_vocab;
        let wanted: Vec<usize> = self.slots.iter().map(Slot::wanted).collect();
        let mut feeds: Vec<_> = self.slots.iter_mut().map(Slot::feed).collect();
        let logits = self.model.step(&mut feeds)?;
        let (storage, _) = logits.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(candle_core::Error::Msg("expected logits on the CPU".into()).into());
        };
        let mut logits = storage.as_slice::<f32>()?;
        let mut kept = Vec::with_capacity(self.slots.len());
        for (mut slot, wanted) in self.slots.drain(..).zip(wanted) {
            let (own, rest) = logits.split_at(wanted * n_vocab);
            logits = rest;
            match slot.advance(&self.model, &self.tokenizer, own) {
                Ok(None) => kept.push(slot),
                Ok(Some(result)) => answer(&slot.reply, Ok(Answer::Decoded(Box::new(result)))),
                Err(error) => answer(&slot.reply, Err(error)),
            }
        }
        self.slots = kept;
        Ok(())
    }

    fn drop_cancelled(&mut self) {
        self.slots.retain(|slot| {
            let cancelled = slot.job.cancel.is_cancelled();
            if cancelled {
                answer(&slot.reply, Err(Error::Cancelled));
            }
            !cancelled
        });
    }

    fn fail_all(&mut self, error: &Error) {
        for slot in self.slots.drain(..) {
            let copy = candle_core::Error::Msg(error.to_string());
            answer(&slot.reply, Err(copy.into()));
        }
    }
}

fn answer(reply: &Sender<Result<Answer>>, answer: Result<Answer>) {
    // Whoever asked may have stopped waiting.
    let _ = reply.send(answer);
}
