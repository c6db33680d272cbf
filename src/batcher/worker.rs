//! The worker: windows are encoded as slots get free, and those in slots step together.
//!
//! A step reads all weights once however many windows take part, so slots are filled before anybody
//! steps. Encoding computes where stepping waits for memory: with enough windows at hand, every thread
//! but one encodes a window of its own, and the last one steps meanwhile.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::Batch;
use super::batcher::Task;
use super::intake::{Encoded, Intake};

/// Windows from which on the stepping lane steps rather than encoding one more: among eight, a window
/// costs half of what it costs alone. Slots beyond these are for the encoding lanes, which would stop at
/// a full batch.
const WORTH_A_STEP: usize = 8;

pub(super) struct Worker {
    intake: Intake,
    batch: Batch,
}

impl Worker {
    pub fn new(intake: Intake) -> Self {
        let batch = Batch::default();
        Self { intake, batch }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        while self.admit() {
            self.batch.step(&self.intake);
        }
    }

    /// Fills free slots; waits only when there is nothing to step. False ends the worker.
    fn admit(&mut self) -> bool {
        let threads = self.intake.model.cpu().pool().threads();
        loop {
            let stepping = !self.batch.is_empty();
            let lanes = (threads - usize::from(stepping)).max(1);
            let tasks = self.intake.take_up_to(lanes, !stepping);
            if tasks.is_empty() {
                return stepping;
            }
            if threads > 1 && tasks.len() == lanes {
                self.overlap(tasks);
            } else {
                // Too few to keep every thread busy: all of them work on one after the other.
                for encoded in tasks
                    .into_iter()
                    .filter_map(|task| self.intake.encode(task))
                {
                    self.batch.open(encoded, &self.intake);
                }
            }
        }
    }

    /// Encodes with a thread a window, and steps on the last thread, until no window is left that
    /// there is room for.
    fn overlap(&mut self, tasks: Vec<Task>) {
        let intake = &self.intake;
        let lanes = intake.model.cpu().pool().threads();
        let round = Round::new(tasks, lanes - 1);
        let batch = Mutex::new(&mut self.batch);
        // The stepping lane is the last one: in a pool that is busy elsewhere they run one by one.
        intake.model.cpu().pool().run(lanes, |lane| {
            if lane + 1 < lanes {
                round.encode(intake);
            } else {
                round.step(
                    intake,
                    &mut batch.lock().unwrap_or_else(PoisonError::into_inner),
                );
            }
        });
    }
}

/// Lanes that encode and one that steps, each on its own thread: a kernel that is called from a task
/// of the pool does not share its work out.
struct Round {
    encoders: usize,
    state: Mutex<RoundState>,
    changed: Condvar,
}

struct RoundState {
    /// Taken, but not begun.
    tasks: Vec<Task>,
    /// Lanes that encode.
    encoding: usize,
    /// Encoded, but in no slot.
    ready: Vec<Encoded>,
}

impl Round {
    fn new(mut tasks: Vec<Task>, encoders: usize) -> Self {
        tasks.reverse();
        let state = RoundState {
            tasks,
            encoding: encoders,
            ready: Vec::new(),
        };
        Self {
            encoders,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// An encoding lane.
    fn encode(&self, intake: &Intake) {
        let _leaving = Leaving(self);
        while let Some(task) = self.next(intake) {
            if let Some(encoded) = intake.encode(task) {
                self.lock().ready.push(encoded);
                self.changed.notify_all();
            }
        }
    }

    /// The stepping lane; it encodes as well while the batch is small.
    fn step(&self, intake: &Intake, batch: &mut Batch) {
        loop {
            let (ready, encoding) = {
                let mut state = self.lock();
                (std::mem::take(&mut state.ready), state.encoding)
            };
            for encoded in ready {
                batch.open(encoded, intake);
            }
            if encoding == 0 {
                return;
            }
            let small = batch.len() < WORTH_A_STEP && encoding == self.encoders;
            let encodes = batch.is_empty() || small;
            if let Some(task) = encodes.then(|| self.next(intake)).flatten() {
                if let Some(encoded) = intake.encode(task) {
                    batch.open(encoded, intake);
                }
            } else if batch.is_empty() {
                self.wait();
            } else {
                batch.step(intake);
            }
        }
    }

    fn next(&self, intake: &Intake) -> Option<Task> {
        let first = self.lock().tasks.pop();
        first.or_else(|| intake.take())
    }

    /// Waits for a window that is ready, or for the last encoder to leave.
    fn wait(&self) {
        let nothing = |state: &mut RoundState| state.ready.is_empty() && state.encoding > 0;
        let waited = self.changed.wait_while(self.lock(), nothing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, RoundState> {
        // Nothing in here is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that an encoding lane has ended, however it ends: the stepping lane waits for all of them.
struct Leaving<'a>(&'a Round);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lock().encoding -= 1;
        self.0.changed.notify_all();
    }
}
