//! How many requests are inside: some run, some wait, more are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, ApiResult};
use super::metrics::Load;

/// The bounds and who is inside.
pub struct Gate {
    inside: Arc<AtomicUsize>,
    most_inside: usize,
    most_running: usize,
    running: Arc<Semaphore>,
}

/// A request's place inside, and once it runs its permit; given back when it is dropped.
pub struct Place {
    inside: Arc<AtomicUsize>,
    running: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running = None;
        self.inside.fetch_sub(1, SeqCst);
    }
}

impl Gate {
    pub fn new(most_running: usize, most_waiting: usize) -> Self {
        let most_running = most_running.max(1);
        Self {
            inside: Arc::default(),
            most_inside: most_running + most_waiting,
            most_running,
            running: Arc::new(Semaphore::new(most_running)),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 503 where all places are taken.
    pub fn enter(&self) -> ApiResult<Place> {
        let most = self.most_inside;
        let entered = self.inside.fetch_update(SeqCst, SeqCst, |inside| {
            (inside < most).then_some(inside + 1)
        });
        match entered {
            Ok(_) => Ok(Place {
                inside: self.inside.clone(),
                running: None,
            }),
            Err(_) => Err(ApiError::busy()),
        }
    }

    /// Waits until a request that is inside may run.
    pub async fn run(&self, place: &mut Place) -> ApiResult<()> {
        let permit = self.running.clone().acquire_owned().await;
        place.running = Some(permit.map_err(|_| ApiError::stopping())?);
        Ok(())
    }

    pub fn load(&self) -> Load {
        let running = self.most_running - self.running.available_permits();
        Load {
            running,
            waiting: self.inside.load(SeqCst).saturating_sub(running),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_counted() {
        let gate = Gate::new(1, 1);
        let mut first = gate.enter().unwrap();
        let second = gate.enter().unwrap();
        let refused = gate.enter().err().unwrap();
        assert_eq!(
            (refused.status.as_u16(), refused.retry_after_s),
            (503, Some(2))
        );
        drop(second);
        let third = gate.enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(gate.run(&mut first)).unwrap();
        let load = gate.load();
        assert_eq!((load.running, load.waiting), (1, 1));
        drop((first, third));
        let load = gate.load();
        assert_eq!((load.running, load.waiting), (0, 0));
    }
}
