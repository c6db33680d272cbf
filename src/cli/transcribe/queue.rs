//! Files that wait for their turn, and how many are worked on at once.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, PoisonError};

use super::event::Event;
use crate::audio::AudioStream;
use crate::output::OutputFormat;

/// A file that waits for its turn.
pub struct QueuedFile<'a> {
    pub path: &'a Path,
    pub bytes: u64,
    pub outputs: &'a [(OutputFormat, PathBuf)],
    /// The recording, if it is being decoded already.
    pub ahead: Option<AudioStream>,
    pub sender: Sender<Event>,
}

/// A long file's windows follow one another: begun last, it would be decoded alone at the end. Among
/// neighbours only, so that no file waits for all others to be shown.
pub fn longest_first(files: &mut [QueuedFile], jobs: usize) {
    if jobs > 1 {
        for neighbours in files.chunks_mut(NEIGHBOURS * jobs) {
            neighbours.sort_by_key(|file| Reverse(file.bytes));
        }
    }
}

/// For each file worked on at once, so many are looked at to find the longest.
const NEIGHBOURS: usize = 4;

/// The files that wait, in order. As many bytes of input are worked on at once as are allowed, and
/// always one file: the spectrogram of each is in memory, or much of it, while it is worked on.
pub struct JobQueue<'a> {
    state: Mutex<QueueState<'a>>,
    released: Condvar,
    most_bytes: u64,
}

struct QueueState<'a> {
    waiting: VecDeque<QueuedFile<'a>>,
    /// Files that are worked on, and their bytes.
    running: (usize, u64),
}

impl<'a> JobQueue<'a> {
    pub fn new(waiting: VecDeque<QueuedFile<'a>>, most_bytes: u64) -> Self {
        let state = Mutex::new(QueueState {
            waiting,
            running: (0, 0),
        });
        Self {
            state,
            released: Condvar::new(),
            most_bytes,
        }
    }

    /// Waits until the next file may be begun; none is left after `None`.
    pub fn next(&self) -> Option<QueuedFile<'a>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = state.waiting.front()?.bytes;
            let (files, bytes) = state.running;
            if files == 0 || bytes.saturating_add(next) <= self.most_bytes {
                state.running = (files + 1, bytes.saturating_add(next));
                return state.waiting.pop_front();
            }
            state = self
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn release(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = (state.running.0 - 1, state.running.1.saturating_sub(bytes));
        self.released.notify_all();
    }

    /// Gives up the files that have not been begun.
    pub fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .waiting
            .clear();
        self.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn file(bytes: &u64) -> QueuedFile<'static> {
        QueuedFile {
            path: Path::new("x"),
            bytes: *bytes,
            outputs: &[],
            ahead: None,
            sender: channel().0,
        }
    }

    fn queue(sizes: &[u64], most_bytes: u64) -> JobQueue<'static> {
        JobQueue::new(sizes.iter().map(file).collect(), most_bytes)
    }

    #[test]
    fn long_files_begin_before_their_short_neighbours() {
        let begun = |sizes: &[u64], jobs| {
            let mut files: Vec<_> = sizes.iter().map(file).collect();
            longest_first(&mut files, jobs);
            files.iter().map(|file| file.bytes).collect::<Vec<_>>()
        };
        assert_eq!(begun(&[1, 3, 2], 1), [1, 3, 2]);
        assert_eq!(begun(&[1, 3, 2], 2), [3, 2, 1]);
        let far: Vec<u64> = (1..=10).collect();
        assert_eq!(begun(&far, 2), [8, 7, 6, 5, 4, 3, 2, 1, 10, 9]);
    }

    #[test]
    fn files_begin_in_order_while_their_bytes_fit() {
        let queue = queue(&[4, 5, 30, 1], 10);
        assert_eq!(queue.next().map(|file| file.bytes), Some(4));
        assert_eq!(queue.next().map(|file| file.bytes), Some(5));
        let third = std::thread::scope(|scope| {
            let third = scope.spawn(|| queue.next().map(|file| file.bytes));
            queue.release(4);
            queue.release(5);
            third.join().unwrap()
        });
        // Larger than what is allowed, but alone.
        assert_eq!(third, Some(30));
        queue.release(30);
        assert_eq!(queue.next().map(|file| file.bytes), Some(1));
        assert!(queue.next().is_none());
    }

    #[test]
    fn closing_ends_the_wait_for_a_file() {
        let queue = queue(&[9, 9], 10);
        assert!(queue.next().is_some());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| queue.next().is_none());
            queue.close();
            assert!(second.join().unwrap());
        });
    }
}
