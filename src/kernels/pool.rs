//! One fork-join pool for all kernels.
//!
//! [`Pool::run`] hands out task numbers to the workers and to the calling thread and returns when all
//! are done. Workers spin briefly for the next job, as a decoder step issues many short ones, then park:
//! an idle pool uses no CPU. A caller that finds the pool busy (another thread's job, or a job that
//! itself calls `run`) does its tasks alone; results never depend on who ran a task.

#![expect(
    unsafe_code,
    reason = "the running job is lent to the workers by pointer"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for a next job, and a caller for its last task, before it parks.
/// Longer than the serial gaps inside a decoder step, far shorter than what a user would notice.
const SPIN: Duration = Duration::from_micros(50);

/// Threads that share the tasks of a job with its caller.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Tasks of the running job that nobody has claimed yet.
    unclaimed: AtomicU32,
    /// Tasks of the running job that are not finished yet.
    unfinished: AtomicU32,
    /// Whether some caller owns the job slot.
    taken: AtomicBool,
    stop: AtomicBool,
    /// Written by the owner of `taken` while no task is unfinished; read only by those who hold a
    /// claimed, unfinished task.
    job: UnsafeCell<Option<Job>>,
    /// Per worker: whether it is parked or about to.
    parked: Vec<AtomicBool>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is the only field that is not Sync; the protocol in its comment orders all access to it
// (`unclaimed` publishes it with Release/Acquire, `unfinished` gives it back the same way).
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer inside a job is to a `Sync` closure.
unsafe impl Send for Shared {}

struct Job {
    tasks: u32,
    body: *const (dyn Fn(usize) + Sync),
    caller: Thread,
}

impl Pool {
    /// A pool of `threads` threads in all: `threads - 1` workers and the caller.
    pub fn new(threads: usize) -> Pool {
        let workers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            unclaimed: AtomicU32::new(0),
            unfinished: AtomicU32::new(0),
            taken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            parked: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
        });
        // A system that refuses a thread gets a smaller pool.
        let spawn = |index: usize| {
            let shared = shared.clone();
            let builder = thread::Builder::new().name(format!("kernel-{index}"));
            builder.spawn(move || shared.work(index)).ok()
        };
        let workers = (0..workers).map_while(spawn).collect();
        Pool { shared, workers }
    }

    /// Threads that work on a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(0) … body(tasks - 1)`, in any order and on any thread, and returns when all are done.
    ///
    /// # Panics
    /// With the first panic of a task, after the other tasks have finished.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, body: F) {
        let alone = tasks < 2 || self.workers.is_empty() || tasks > u32::MAX as usize;
        if alone || self.shared.taken.swap(true, Acquire) {
            return (0..tasks).for_each(body);
        }
        self.publish(tasks as u32, &body);
        while self.shared.take_one() {}
        self.shared.wait_for_others();
        let panic = self
            .shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.shared.taken.store(false, Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Calls `body(i, chunk)` for each chunk of `chunk` items of `items` (the last may be shorter).
    pub fn run_chunks<T: Send, F>(&self, items: &mut [T], chunk: usize, body: F)
    where
        F: Fn(usize, &mut [T]) + Sync,
    {
        let (len, shared) = (items.len(), SharedSlice::new(items));
        self.run(len.div_ceil(chunk), |task| {
            let range = task * chunk..len.min((task + 1) * chunk);
            // SAFETY: the ranges of different tasks do not overlap, and each task runs once.
            body(task, unsafe { shared.range(range) });
        });
    }

    /// Makes a job visible to the workers and wakes as many as it can use.
    fn publish(&self, tasks: u32, body: &(dyn Fn(usize) + Sync)) {
        let shared = &self.shared;
        // SAFETY: only the lifetime changes; `run` does not return before every task is finished, and
        // nobody touches `body` without holding an unfinished task.
        let body: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(body) };
        // SAFETY: this thread owns `taken` and no task is unfinished, so nobody else looks at the slot.
        unsafe {
            *shared.job.get() = Some(Job {
                tasks,
                body,
                caller: thread::current(),
            })
        };
        shared.unfinished.store(tasks, Relaxed);
        // SeqCst pairs with the workers' store to `parked` followed by their look at `unclaimed`: one of
        // the two sides sees the other.
        shared.unclaimed.store(tasks, SeqCst);
        for (worker, parked) in self
            .workers
            .iter()
            .zip(&shared.parked)
            .take(tasks as usize - 1)
        {
            if parked.load(SeqCst) && parked.swap(false, SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Workers catch the panics of tasks and have none of their own.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, index: usize) {
        loop {
            while self.take_one() {}
            if spin_until(|| self.unclaimed.load(Relaxed) > 0 || self.stop.load(Relaxed)) {
                if self.stop.load(Acquire) {
                    return;
                }
                continue;
            }
            let parked = &self.parked[index];
            parked.store(true, SeqCst);
            while self.unclaimed.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
                thread::park();
                parked.store(true, SeqCst);
            }
            parked.store(false, SeqCst);
        }
    }

    /// Claims and does one task; false if none is left to claim.
    fn take_one(&self) -> bool {
        let claim = self
            .unclaimed
            .fetch_update(Acquire, Relaxed, |left| left.checked_sub(1));
        let Ok(left) = claim else { return false };
        // SAFETY: a claimed task is unfinished, so the slot holds its job until `finish` below.
        let job = unsafe { (*self.job.get()).as_ref() }.expect("a claimed task has a job");
        // SAFETY: as above, the caller keeps the closure alive until the task is finished.
        let body = unsafe { &*job.body };
        let task = (job.tasks - left) as usize;
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(task))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(payload);
        }
        let caller = job.caller.clone();
        if self.unfinished.fetch_sub(1, AcqRel) == 1 && caller.id() != thread::current().id() {
            caller.unpark();
        }
        true
    }

    fn wait_for_others(&self) {
        let done = || self.unfinished.load(Acquire) == 0;
        if !spin_until(done) {
            while !done() {
                thread::park();
            }
        }
    }
}

/// Spins until `done`, at most for [`SPIN`]; says whether it is.
fn spin_until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return done();
        }
    }
}

/// A mutable slice of which the tasks of one job write disjoint parts.
pub struct SharedSlice<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it only hands out ranges, and `range` makes its caller promise that they are disjoint.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    /// Lends `items` to the tasks of a job.
    pub fn new(items: &'a mut [T]) -> Self {
        SharedSlice {
            start: items.as_mut_ptr(),
            len: items.len(),
            lifetime: PhantomData,
        }
    }

    /// Where item `index` is, to prefetch it.
    pub fn place(&self, index: usize) -> *const T {
        self.start.wrapping_add(index)
    }

    /// The items of `range`.
    ///
    /// # Safety
    /// No two ranges that are alive at the same time overlap.
    ///
    /// # Panics
    /// If `range` reaches beyond the slice.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "range within the slice"
        );
        // SAFETY: within the slice (checked), exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_task_runs_once_for_any_count_of_tasks_and_threads() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 3, 7, 64, 1000] {
                let mut seen = vec![0u8; tasks];
                pool.run_chunks(&mut seen, 1, |_, item| item[0] += 1);
                assert!(
                    seen.iter().all(|&n| n == 1),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn many_callers_and_nested_jobs_finish() {
        let (pool, sum) = (Pool::new(3), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        pool.run(1 + round % 5, |_| {
                            pool.run(2, |_| _ = sum.fetch_add(1, Relaxed));
                        });
                        if round % 97 == 0 {
                            thread::sleep(SPIN * 2);
                        }
                    }
                });
            }
        });
        assert_eq!(
            sum.into_inner(),
            6 * 2 * (0..2000).map(|round| 1 + round % 5).sum::<usize>()
        );
    }

    #[test]
    fn a_panic_of_any_task_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for bad in 0..8 {
            let job = || pool.run(8, |task| assert!(task != bad, "task {task} fails"));
            let payload = catch_unwind(AssertUnwindSafe(job)).unwrap_err();
            let message = payload
                .downcast_ref::<String>()
                .expect("a formatted message");
            assert_eq!(message, &format!("task {bad} fails"));
        }
        let count = AtomicUsize::new(0);
        pool.run(100, |_| _ = count.fetch_add(1, Relaxed));
        assert_eq!(count.into_inner(), 100);
    }

    #[test]
    fn results_are_visible_after_run() {
        let pool = Pool::new(4);
        let mut numbers = vec![0usize; 4096];
        for round in 1..300 {
            pool.run_chunks(&mut numbers, 64, |task, chunk| {
                chunk.iter_mut().for_each(|number| *number += task * round);
            });
        }
        let total: usize = (1..300).sum();
        assert!(
            numbers
                .iter()
                .enumerate()
                .all(|(i, &number)| number == i / 64 * total)
        );
    }
}
