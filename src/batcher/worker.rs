//! The worker: windows are encoded as slots get free, and those in slots step together.
//!
//! A step reads all weights once however many windows take part, so slots are filled before anybody
//! steps. Encoding computes where stepping waits for memory: with enough windows at hand, every lane but
//! one encodes, and the last one steps meanwhile. How many lanes there are, and how many windows go into one
//! call, is the executor's word ([`Feeding`]): nothing here knows a device.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::Batch;
use super::intake::{Encoded, Intake};
use super::task::Task;
use crate::model::Feeding;

/// How long nothing has to come before memory that windows left is given back.
const IDLE: Duration = Duration::from_millis(300);

pub(super) struct Worker {
    intake: Intake,
    batch: Batch,
    feeding: Feeding,
}

impl Worker {
    pub fn new(intake: Intake) -> Self {
        let feeding = intake.network.feeding();
        Self {
            intake,
            batch: Batch::default(),
            feeding,
        }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        while self.admit() {
            self.batch.step(&self.intake);
        }
    }

    /// Fills free slots; waits only when there is nothing to step. False ends the worker.
    fn admit(&mut self) -> bool {
        let Feeding {
            lanes,
            windows_an_encode,
            ..
        } = self.feeding;
        loop {
            let stepping = !self.batch.is_empty();
            if !stepping && !self.intake.has_work_within(IDLE) {
                self.batch.rest();
            }
            let encoding = (lanes - usize::from(stepping)).max(1);
            let tasks = self
                .intake
                .take_up_to(encoding * windows_an_encode, !stepping);
            if tasks.is_empty() {
                return stepping;
            }
            if lanes > 1 && tasks.len() == encoding * windows_an_encode {
                self.overlap(tasks);
            } else {
                // Too few to keep every lane busy: the whole device works on one call after the other.
                let mut tasks = tasks.into_iter().peekable();
                while tasks.peek().is_some() {
                    let call = tasks.by_ref().take(windows_an_encode).collect();
                    for encoded in self.intake.encode(call) {
                        self.batch.open(encoded, &self.intake);
                    }
                }
            }
        }
    }

    /// Encodes with a call a lane, and steps on the last lane, until no window is left that there is room
    /// for.
    fn overlap(&mut self, tasks: Vec<Task>) {
        let intake = &self.intake;
        let lanes = self.feeding.lanes;
        let round = Round::new(tasks, self.feeding);
        let batch = Mutex::new(&mut self.batch);
        // The stepping lane is the last one: lanes that are not run side by side are run one by one.
        intake.network.run_lanes(lanes, &|lane| {
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
    /// Lanes that encode.
    encoders: usize,
    feeding: Feeding,
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
    fn new(mut tasks: Vec<Task>, feeding: Feeding) -> Self {
        tasks.reverse();
        let encoders = feeding.lanes - 1;
        let state = RoundState {
            tasks,
            encoding: encoders,
            ready: Vec::new(),
        };
        Self {
            encoders,
            feeding,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// An encoding lane.
    fn encode(&self, intake: &Intake) {
        let _leaving = Leaving(self);
        while let Some(tasks) = self.next(intake) {
            let encoded = intake.encode(tasks);
            self.lock().ready.extend(encoded);
            self.changed.notify_all();
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
            let small = batch.len() < self.feeding.worth_a_step && encoding == self.encoders;
            let encodes = batch.is_empty() || small;
            if let Some(tasks) = encodes.then(|| self.next(intake)).flatten() {
                for encoded in intake.encode(tasks) {
                    batch.open(encoded, intake);
                }
            } else if batch.is_empty() {
                self.wait();
            } else {
                batch.step(intake);
            }
        }
    }

    /// The windows of one more call; none ends the lane.
    fn next(&self, intake: &Intake) -> Option<Vec<Task>> {
        let one = || self.lock().tasks.pop().or_else(|| intake.take());
        let tasks: Vec<Task> = std::iter::from_fn(one)
            .take(self.feeding.windows_an_encode)
            .collect();
        (!tasks.is_empty()).then_some(tasks)
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
