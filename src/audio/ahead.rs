//! Something that is made while something else is made ready: on a thread of its own, piece by piece.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::{Error, Result};

/// Pieces that may wait for whoever listens.
const WAITING: usize = 64;

/// What the thread hands over: samples with what is known behind them, and in the end how it ended.
enum Piece<Known> {
    Block(Vec<f32>, Known),
    End(Result<Known>),
}

/// Takes the pieces from whoever makes them.
pub(super) struct Hand<Known>(SyncSender<Piece<Known>>);

impl<Known> Hand<Known> {
    /// Hands over samples, and waits where too many wait already; false where nobody listens any more.
    pub(super) fn over(&self, samples: Vec<f32>, known: Known) -> bool {
        self.0.send(Piece::Block(samples, known)).is_ok()
    }
}

/// The listener's end. Dropping it ends the thread at its next piece.
pub(super) struct Ahead<Known>(Receiver<Piece<Known>>);

impl<Known: Send + 'static> Ahead<Known> {
    /// Lets `make` run, which hands over samples and returns what is known in the end.
    pub(super) fn start(
        make: impl FnOnce(&Hand<Known>) -> Result<Known> + Send + 'static,
    ) -> Result<Self> {
        let (sender, pieces) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("undertone-ahead".into());
        let run = move || {
            let hand = Hand(sender);
            let end = make(&hand);
            // Whoever would hear of the end may be gone.
            let _ = hand.0.send(Piece::End(end));
        };
        thread.spawn(run).map_err(Error::Thread)?;
        Ok(Self(pieces))
    }

    /// Puts the next samples into `block`, and what is known by then into `known`; false at the end.
    pub(super) fn fill(&self, block: &mut Vec<f32>, known: &mut Known) -> Result<bool> {
        let lost = |_| Error::Engine("the thread that decodes audio has failed".into());
        match self.0.recv().map_err(lost)? {
            Piece::Block(samples, now) => {
                (*block, *known) = (samples, now);
                Ok(true)
            }
            Piece::End(end) => {
                *known = end?;
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order_and_then_the_end() {
        let ahead = Ahead::start(|hand| {
            let mut sent = (0..200).take_while(|i| hand.over(vec![*i as f32], *i));
            assert_eq!(sent.by_ref().count(), 200);
            Ok(200)
        });
        let (ahead, mut block, mut known) = (ahead.unwrap(), Vec::new(), 0);
        for i in 0..200 {
            assert!(ahead.fill(&mut block, &mut known).unwrap());
            assert_eq!((block.as_slice(), known), ([i as f32].as_slice(), i));
        }
        assert!(!ahead.fill(&mut block, &mut known).unwrap());
        assert_eq!(known, 200);
    }

    #[test]
    fn a_thread_that_fails_is_no_end() {
        let ahead = Ahead::<u32>::start(|_| panic!("on purpose")).unwrap();
        let error = ahead.fill(&mut Vec::new(), &mut 0).unwrap_err();
        assert!(matches!(error, Error::Engine(_)), "{error}");
    }

    #[test]
    fn nobody_listens_to_what_is_dropped() {
        let (told, hears) = std::sync::mpsc::channel();
        let ahead = Ahead::start(move |hand| {
            while hand.over(vec![0.0], ()) {}
            let _ = told.send(());
            Ok(())
        });
        drop(ahead);
        hears.recv().unwrap();
    }
}
