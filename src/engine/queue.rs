//! A bounded queue in which sources take turns.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Items of several sources. The source that was served longest ago is served next, so one with
/// few items overtakes one with many.
pub(crate) struct FairQueue<T> {
    lanes: Mutex<Lanes<T>>,
    room: Condvar,
    work: Condvar,
    capacity: usize,
}

struct Lanes<T> {
    /// Sources with items, next to be served first.
    by_turn: VecDeque<(u64, VecDeque<T>)>,
    len: usize,
    closed: bool,
}

impl<T> FairQueue<T> {
    pub fn new(capacity: usize) -> Self {
        let lanes = Lanes { by_turn: VecDeque::new(), len: 0, closed: false };
        Self {
            lanes: Mutex::new(lanes),
            room: Condvar::new(),
            work: Condvar::new(),
            capacity,
        }
    }

    /// Adds an item, waiting for room. Gives it back if the queue is closed.
    pub fn push(&self, source: u64, item: T) -> Result<(), T> {
        let mut lanes = self.lock();
        while lanes.len >= self.capacity && !lanes.closed {
            lanes = self.room.wait(lanes).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if lanes.closed {
            return Err(item);
        }
        match lanes.by_turn.iter_mut().find(|(s, _)| *s == source) {
            Some((_, lane)) => lane.push_back(item),
            None => lanes.by_turn.push_back((source, VecDeque::from([item]))),
        }
        lanes.len += 1;
        self.work.notify_one();
        Ok(())
    }

    /// Takes the next item. With `wait` it waits for one, and `None` means the queue is closed.
    pub fn pop(&self, wait: bool) -> Option<T> {
        let mut lanes = self.lock();
        while wait && lanes.len == 0 && !lanes.closed {
            lanes = self.work.wait(lanes).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let (source, mut lane) = lanes.by_turn.pop_front()?;
        let item = lane.pop_front();
        if !lane.is_empty() {
            lanes.by_turn.push_back((source, lane));
        }
        lanes.len -= 1;
        self.room.notify_one();
        item
    }

    /// Lets nothing more in and wakes everybody who waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<T>> {
        // A panic elsewhere leaves the lanes consistent: every change is a single push or pop.
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::FairQueue;

    #[test]
    fn a_short_source_overtakes_a_long_one() {
        let queue = FairQueue::new(16);
        for i in 0..5 {
            queue.push(1, (1, i)).unwrap();
        }
        queue.push(2, (2, 0)).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(false)).collect();
        assert_eq!(order, [(1, 0), (2, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
    }

    #[test]
    fn a_closed_queue_gives_items_back_and_wakes_the_reader() {
        let queue = FairQueue::new(1);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(1, 2), Err(2));
        assert_eq!((queue.pop(true), queue.pop(true)), (Some(1), None));
    }

    #[test]
    fn a_full_queue_makes_its_writer_wait() {
        let queue = std::sync::Arc::new(FairQueue::new(1));
        queue.push(1, 1).unwrap();
        let writer = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.push(1, 2))
        };
        assert_eq!(queue.pop(true), Some(1));
        writer.join().unwrap().unwrap();
        assert_eq!(queue.pop(true), Some(2));
    }
}
