//! The batcher's front: windows go into its queue, and threads behind it decode them, one a device. Where a device is lost,
//! the others begin its windows again.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::counts::{Counts, Tally};
use super::crew::Place;
use super::inbox::{Inbox, Reply};
use super::intake::Intake;
use super::queue::FairQueue;
use super::task::{Ask, Task};
use super::worker::Worker;
use super::{Capacity, WindowJob};
use crate::decoding::DecodingResult;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::tokenizer::Tokenizer;
use crate::transcript::LanguageProbabilities;

/// A queue of windows and the threads that decode them, each on a network of its own. As many windows may wait as may be decoded
/// side by side; a source that offers more waits.
pub struct Batcher {
    queue: Arc<FairQueue<Task>>,
    tally: Arc<Tally>,
    workers: Vec<JoinHandle<()>>,
}

impl Batcher {
    /// Starts a worker a network, with room for `capacity` each; `draft` writes ahead where windows are decoded
    /// greedily.
    ///
    /// # Errors
    /// [`Error::Thread`] where the system refuses a thread.
    pub fn new(
        networks: &[Arc<dyn Network>],
        draft: Option<Arc<dyn Network>>,
        tokenizer: Arc<Tokenizer>,
        capacity: Capacity,
    ) -> Result<Self> {
        let room = |network: &Arc<dyn Network>| capacity.at_most(network.feeding().most);
        let windows: usize = networks.iter().map(|network| room(network).windows).sum();
        let mut batcher = Self {
            queue: Arc::new(FairQueue::new(windows.max(2))),
            tally: Arc::default(),
            workers: Vec::with_capacity(networks.len()),
        };
        // All at once: a worker that fails at its first window knows of the others.
        let crew = Arc::default();
        let places: Vec<Place> = networks
            .iter()
            .map(|_| Place::new(&crew, &batcher.queue))
            .collect();
        for (network, place) in networks.iter().zip(places) {
            let intake = Intake::new(
                batcher.queue.clone(),
                place,
                batcher.tally.clone(),
                network.clone(),
                draft.clone(),
                tokenizer.clone(),
                room(network),
            );
            batcher.start(Worker::new(intake))?;
        }
        Ok(batcher)
    }

    fn start(&mut self, worker: Worker) -> Result<()> {
        let thread = std::thread::Builder::new().name("undertone-batcher".into());
        let body = move || worker.run();
        self.workers
            .push(thread.spawn(body).map_err(Error::Thread)?);
        Ok(())
    }

    /// Queues a window for decoding; its result will be in the inbox under `tag`. Waits while the
    /// queue is full.
    ///
    /// # Errors
    /// If the worker has stopped.
    pub fn submit(&self, job: WindowJob, tag: usize, inbox: &Inbox) -> Result<()> {
        self.ask(Ask::Decode, job, inbox.reply(tag))
    }

    /// Decodes one window and waits for the result.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what went wrong in the network.
    pub fn decode(&self, job: WindowJob) -> Result<DecodingResult> {
        let inbox = Inbox::default();
        self.submit(job, 0, &inbox)?;
        Ok(inbox.next()?.1)
    }

    /// Asks which language a window is in.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what went wrong in the network.
    pub fn detect_language(&self, job: WindowJob) -> Result<LanguageProbabilities> {
        let inbox = Inbox::default();
        self.ask(Ask::DetectLanguage, job, inbox.reply(0))?;
        inbox.next_language()
    }

    /// What the worker has done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.tally.counts(self.queue.len())
    }

    /// Whether a worker still takes windows.
    pub(crate) fn is_working(&self) -> bool {
        self.workers.iter().any(|worker| !worker.is_finished())
    }

    /// Ends the worker, as a defect would.
    #[cfg(test)]
    pub(crate) fn stop_working(&self) {
        self.queue.close();
    }

    fn ask(&self, ask: Ask, job: WindowJob, reply: Reply) -> Result<()> {
        let source = job.source;
        let pushed = self.queue.push(source, Task { ask, job, reply });
        pushed.map_err(|_| Error::Engine("its worker has stopped".into()))
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.queue.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has told those who waited; there is nobody left to tell.
            let _ = worker.join();
        }
    }
}
