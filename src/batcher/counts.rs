//! What a worker has done: what a server's figures are made of.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a batcher has done since it was started, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Windows that wait in the queue.
    pub queued: usize,
    /// Windows that were encoded.
    pub windows: u64,
    /// Steps of the decoder.
    pub steps: u64,
    /// Rows that took part in them, added up.
    pub rows: u64,
    /// Seconds of encoding; where several lanes encode at once, added up.
    pub encode_s: f64,
    /// Seconds of steps.
    pub step_s: f64,
    /// When the network last did what it was asked to, if it ever did.
    pub worked: Option<Instant>,
}

/// The worker's side of [`Counts`].
pub(super) struct Tally {
    started: Instant,
    /// Since the start; 0: never.
    worked_us: AtomicU64,
    windows: AtomicU64,
    steps: AtomicU64,
    rows: AtomicU64,
    encode_us: AtomicU64,
    step_us: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            worked_us: AtomicU64::default(),
            windows: AtomicU64::default(),
            steps: AtomicU64::default(),
            rows: AtomicU64::default(),
            encode_us: AtomicU64::default(),
            step_us: AtomicU64::default(),
        }
    }
}

impl Tally {
    /// The network has done what it was asked to.
    pub fn worked(&self) {
        let now = us(self.started.elapsed()).max(1);
        self.worked_us.store(now, Relaxed);
    }

    /// Windows that were encoded in one call.
    pub fn encoded(&self, windows: usize, since: Instant) {
        self.windows.fetch_add(windows as u64, Relaxed);
        self.encode_us.fetch_add(us(since.elapsed()), Relaxed);
    }

    /// A step of so many rows.
    pub fn stepped(&self, rows: usize, since: Instant) {
        self.steps.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.step_us.fetch_add(us(since.elapsed()), Relaxed);
    }

    pub fn counts(&self, queued: usize) -> Counts {
        let seconds = |us: &AtomicU64| us.load(Relaxed) as f64 * 1e-6;
        Counts {
            queued,
            windows: self.windows.load(Relaxed),
            steps: self.steps.load(Relaxed),
            rows: self.rows.load(Relaxed),
            encode_s: seconds(&self.encode_us),
            step_s: seconds(&self.step_us),
            worked: match self.worked_us.load(Relaxed) {
                0 => None,
                us => Some(self.started + Duration::from_micros(us)),
            },
        }
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
