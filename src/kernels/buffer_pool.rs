//! Large outputs that nobody needs any more, kept for the next ones to be written into.
//!
//! Fresh memory has to be cleared by the system page by page, which costs as much as a tenth of the
//! encoder's time; and a vector taken from here need not be cleared at all.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Vectors shorter than this are not worth keeping.
const WORTH: usize = 1 << 15;
/// At most so many are kept: an encoder block has five at a time.
const MOST: usize = 6;

/// Vectors without an owner.
#[derive(Default)]
pub struct BufferPool(Mutex<Vec<Vec<f32>>>);

impl BufferPool {
    /// A vector of `len` numbers of any content, from among the kept ones if one fits.
    pub fn take(&self, len: usize) -> Vec<f32> {
        let mut numbers = if len < WORTH { None } else { self.fitting(len) }.unwrap_or_default();
        numbers.truncate(len);
        if numbers.is_empty() {
            return vec![0.0; len];
        }
        numbers.resize(len, 0.0);
        numbers
    }

    /// Keeps a vector for a later [`BufferPool::take`]; the smallest goes if there are too many.
    pub fn give(&self, numbers: Vec<f32>) {
        if numbers.len() < WORTH {
            return;
        }
        let mut kept = self.lock();
        kept.push(numbers);
        kept.sort_by_key(Vec::capacity);
        let superfluous = kept.len().saturating_sub(MOST);
        drop(kept.drain(..superfluous));
    }

    /// The smallest that holds `len`, unless it is more than twice as large.
    fn fitting(&self, len: usize) -> Option<Vec<f32>> {
        let mut kept = self.lock();
        let at = kept.iter().position(|numbers| numbers.capacity() >= len)?;
        (kept[at].capacity() <= 2 * len).then(|| kept.remove(at))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        // Vectors are moved whole: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_for_what_fits_it_and_is_not_grown() {
        let pool = BufferPool::default();
        let numbers = pool.take(3 * WORTH);
        assert!(numbers.len() == 3 * WORTH && numbers.iter().all(|&x| x == 0.0));
        let place = numbers.as_ptr();
        pool.give(numbers);
        let (small, large) = (pool.take(WORTH), pool.take(4 * WORTH));
        assert_ne!(small.as_ptr(), place, "far too large");
        assert_ne!(large.as_ptr(), place, "too small");
        let part = pool.take(2 * WORTH);
        assert_eq!((part.as_ptr(), part.len()), (place, 2 * WORTH));
        pool.give(part);
        assert_eq!(pool.take(3 * WORTH).len(), 3 * WORTH);
    }

    #[test]
    fn few_are_kept_and_none_that_are_small() {
        let pool = BufferPool::default();
        pool.give(vec![0.0; WORTH - 1]);
        for i in 0..2 * MOST {
            pool.give(vec![0.0; (i + 1) * WORTH]);
        }
        let lengths: Vec<usize> = pool.lock().iter().map(Vec::len).collect();
        let largest: Vec<usize> = (MOST..2 * MOST).map(|i| (i + 1) * WORTH).collect();
        assert_eq!(lengths, largest);
    }
}
