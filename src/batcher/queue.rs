//! A bounded queue in which sources take turns.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

impl<T> Lanes<T> {
    fn has_room(&self, source: u64, capacity: usize) -> bool {
        let own = self
            .by_turn
            .iter()
            .find(|(s, _)| *s == source)
            .map_or(0, |(_, lane)| lane.len());
        self.len < capacity && own < capacity.div_ceil(2)
    }
}

impl<T> FairQueue<T> {
    pub fn new(capacity: usize) -> Self {
        let lanes = Lanes {
            by_turn: VecDeque::new(),
            len: 0,
            closed: false,
        };
        Self {
            lanes: Mutex::new(lanes),
            room: Condvar::new(),
            work: Condvar::new(),
            capacity,
        }
    }

    /// Adds an item, waiting for room. Gives it back if the queue is closed. One source never
    /// takes more than half of the room, so that others find some.
    pub fn push(&self, source: u64, item: T) -> Result<(), T> {
        let mut lanes = self.lock();
        while !lanes.closed && !lanes.has_room(source, self.capacity) {
            lanes = self
                .room
                .wait(lanes)
                .unwrap_or_else(PoisonError::into_inner);
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

    /// Puts an item in front that was taken before, room or none, also where the queue is closed.
    pub fn put_back(&self, source: u64, item: T) {
        let mut lanes = self.lock();
        match lanes.by_turn.iter().position(|(s, _)| *s == source) {
            Some(at) => lanes.by_turn[at].1.push_front(item),
            None => lanes.by_turn.push_front((source, VecDeque::from([item]))),
        }
        lanes.len += 1;
        self.work.notify_one();
    }

    /// Takes the next item if it `fits`; no later one overtakes it. With `wait` it waits for an
    /// item, and `None` means that the queue is closed or that the next item does not fit.
    pub fn pop(&self, wait: bool, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut lanes = self.lock();
        while wait && lanes.len == 0 && !lanes.closed {
            lanes = self
                .work
                .wait(lanes)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !lanes.by_turn.front()?.1.front().is_some_and(fits) {
            return None;
        }
        let (source, mut lane) = lanes.by_turn.pop_front()?;
        let item = lane.pop_front();
        if !lane.is_empty() {
            lanes.by_turn.push_back((source, lane));
        }
        lanes.len -= 1;
        // All of them: the first to wake may be one whose half is full.
        self.room.notify_all();
        item
    }

    /// Waits at most so long for an item, or for the end; whether there is either.
    pub fn wait(&self, at_most: Duration) -> bool {
        let nothing = |lanes: &mut Lanes<T>| lanes.len == 0 && !lanes.closed;
        let waited = self.work.wait_timeout_while(self.lock(), at_most, nothing);
        let (_lanes, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Takes out every item that is `unwanted`.
    pub fn remove_if(&self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut lanes = self.lock();
        let mut removed = Vec::new();
        for (_, lane) in &mut lanes.by_turn {
            let (out, kept) = lane.drain(..).partition(&unwanted);
            *lane = kept;
            removed.extend::<VecDeque<T>>(out);
        }
        if !removed.is_empty() {
            lanes.by_turn.retain(|(_, lane)| !lane.is_empty());
            lanes.len -= removed.len();
            self.room.notify_all();
        }
        removed
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Lets nothing more in and wakes everybody who waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<T>> {
        // A panic elsewhere leaves nothing half done that would matter: items are moved whole.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::FairQueue;

    fn next<T>(queue: &FairQueue<T>, wait: bool) -> Option<T> {
        queue.pop(wait, |_| true)
    }

    #[test]
    fn a_short_source_overtakes_a_long_one() {
        let queue = FairQueue::new(16);
        for i in 0..5 {
            queue.push(1, (1, i)).unwrap();
        }
        queue.push(2, (2, 0)).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| next(&queue, false)).collect();
        assert_eq!(order, [(1, 0), (2, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
    }

    #[test]
    fn a_closed_queue_gives_items_back_and_wakes_the_reader() {
        let queue = FairQueue::new(2);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(1, 2), Err(2));
        assert_eq!((next(&queue, true), next(&queue, true)), (Some(1), None));
    }

    #[test]
    fn a_reader_may_wait_for_a_while() {
        let (queue, moment) = (FairQueue::new(2), Duration::from_millis(1));
        assert!(!queue.wait(moment));
        queue.push(1, 1).unwrap();
        assert!(queue.wait(moment));
        assert_eq!((next(&queue, false), queue.wait(moment)), (Some(1), false));
        queue.close();
        assert!(queue.wait(moment));
    }

    #[test]
    fn what_is_put_back_comes_first_and_needs_no_room() {
        let queue = FairQueue::new(2);
        queue.push(1, 1).unwrap();
        queue.push(2, 2).unwrap();
        queue.close();
        queue.put_back(1, 0);
        queue.put_back(3, 3);
        let order: Vec<_> = std::iter::from_fn(|| next(&queue, false)).collect();
        assert_eq!(order, [3, 0, 2, 1]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_makes_its_writer_wait() {
        let queue = Arc::new(FairQueue::new(1));
        queue.push(1, 1).unwrap();
        let writer = {
            let queue = queue.clone();
            std::thread::spawn(move || queue.push(1, 2))
        };
        assert_eq!(next(&queue, true), Some(1));
        writer.join().unwrap().unwrap();
        assert_eq!(next(&queue, true), Some(2));
    }

    #[test]
    fn one_source_leaves_room_for_another() {
        let queue = Arc::new(FairQueue::new(4));
        let greedy = {
            let queue = queue.clone();
            std::thread::spawn(move || (0..6).for_each(|i| queue.push(1, i).unwrap()))
        };
        queue.push(2, 100).unwrap();
        queue.push(2, 101).unwrap();
        let mut taken: Vec<_> = (0..8).map(|_| next(&queue, true).unwrap()).collect();
        greedy.join().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3, 4, 5, 100, 101]);
    }

    #[test]
    fn what_does_not_fit_is_not_overtaken() {
        let queue = FairQueue::new(8);
        queue.push(1, 5).unwrap();
        queue.push(2, 1).unwrap();
        assert_eq!(queue.pop(false, |rows| *rows <= 3), None);
        assert_eq!(queue.pop(false, |rows| *rows <= 5), Some(5));
        assert_eq!(queue.pop(false, |rows| *rows <= 3), Some(1));
    }

    #[test]
    fn removing_makes_room() {
        let queue = FairQueue::new(4);
        for (source, item) in [(1, 10), (2, 20), (1, 11), (2, 21)] {
            queue.push(source, item).unwrap();
        }
        assert_eq!(queue.remove_if(|item| item % 10 == 0), [10, 20]);
        queue.push(3, 30).unwrap();
        let order: Vec<_> = std::iter::from_fn(|| next(&queue, false)).collect();
        assert_eq!(order, [11, 21, 30]);
    }
}
