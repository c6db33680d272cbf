//! Who is at work: a worker whose device is lost leaves its windows to the others, and the last to leave shuts the door.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::queue::FairQueue;
use super::task::Task;

/// The workers of one queue.
#[derive(Default)]
pub(super) struct Crew {
    at_work: AtomicUsize,
}

/// A worker's place among the others. Whoever drops the last one closes the queue: what waits in it is answered with an
/// error, and nothing more gets in.
pub(super) struct Place {
    crew: Arc<Crew>,
    queue: Arc<FairQueue<Task>>,
    retired: AtomicBool,
}

impl Place {
    pub fn new(crew: &Arc<Crew>, queue: &Arc<FairQueue<Task>>) -> Self {
        crew.at_work.fetch_add(1, SeqCst);
        Self {
            crew: crew.clone(),
            queue: queue.clone(),
            retired: AtomicBool::new(false),
        }
    }

    /// Whether others work beside this one.
    pub fn has_others(&self) -> bool {
        self.crew.at_work.load(SeqCst) > usize::from(!self.has_retired())
    }

    /// Whether it takes no windows any more.
    pub fn has_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// Leaves the windows to the others from now on; false where there are none.
    pub fn retire(&self) -> bool {
        if self.has_retired() {
            return true;
        }
        let leave = |at_work: usize| (at_work > 1).then(|| at_work - 1);
        let left = self
            .crew
            .at_work
            .fetch_update(SeqCst, SeqCst, leave)
            .is_ok();
        self.retired.fetch_or(left, SeqCst);
        left
    }

    /// Gives a window to the others.
    pub fn hand_over(&self, task: Task) {
        self.queue.put_back(task.job.source, task);
        // Where the last of them has left meanwhile, nobody takes it.
        if self.crew.at_work.load(SeqCst) == 0 {
            self.queue.remove_if(|_| true).clear();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.has_retired() && self.crew.at_work.fetch_sub(1, SeqCst) == 1 {
            self.queue.close();
            self.queue.remove_if(|_| true).clear();
        }
    }
}
