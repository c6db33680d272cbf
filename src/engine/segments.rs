//! Segments as an iterator: the main path on a thread of its own.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::mpsc::{IntoIter, SyncSender, sync_channel};

use super::{Control, Engine};
use crate::audio::Input;
use crate::batcher::Cancel;
use crate::error::{Error, Result};
use crate::options::TranscribeOptions;
use crate::transcript::{Segment, Transcript};

/// Segments that may wait for the caller before the work waits too.
const WAITING: usize = 16;

/// The segments of a recording that is being transcribed on another thread, in order. An error is
/// the last item. Dropping it stops the work at its next step.
#[must_use = "dropping it stops the work"]
pub struct Segments {
    events: IntoIter<Event>,
    cancel: Cancel,
    state: State,
}

/// What the thread says.
enum Event {
    Segment(Segment),
    Ended(Box<Result<Transcript>>),
}

enum State {
    Running,
    Done(Box<Transcript>),
    /// The error has been given to the caller.
    Failed,
}

impl Segments {
    /// Starts the work. A thread that the system refuses is the first and last item.
    pub(super) fn start(
        engine: Engine,
        input: Input,
        options: TranscribeOptions,
        control: &Control,
    ) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let cancel = control.cancel.child();
        let control = Control {
            cancel: cancel.clone(),
            ..control.clone()
        };
        let thread = std::thread::Builder::new().name("undertone-segments".into());
        let refused = sender.clone();
        let spawned = thread.spawn(move || work(&engine, input, &options, &control, &sender));
        if let Err(error) = spawned {
            // There is room for it, and somebody listens: this function.
            let _ = refused.try_send(Event::Ended(Box::new(Err(Error::Thread(error)))));
        }
        Self {
            events: receiver.into_iter(),
            cancel,
            state: State::Running,
        }
    }

    /// Waits for the end of the work and gives the whole transcript, with each window's trace and
    /// the recording's warnings. Segments that were not asked for are in it as well.
    ///
    /// # Errors
    /// What ended the work early; [`Error::Cancelled`] if the iterator has given that error away.
    pub fn finish(mut self) -> Result<Transcript> {
        for segment in &mut self {
            segment?;
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Done(transcript) => Ok(*transcript),
            State::Running | State::Failed => Err(Error::Cancelled),
        }
    }

    fn fail(&mut self, error: Error) -> Option<Result<Segment>> {
        self.state = State::Failed;
        Some(Err(error))
    }
}

fn work(
    engine: &Engine,
    input: Input,
    options: &TranscribeOptions,
    control: &Control,
    events: &SyncSender<Event>,
) {
    let mut sink = |segment: &Segment| {
        let event = Event::Segment(segment.clone());
        events.send(event).map_err(|_| Error::Cancelled)
    };
    let ended = engine.run(input, options, &mut sink, control);
    // Nobody listens any more if this fails.
    let _ = events.send(Event::Ended(Box::new(ended)));
}

impl Iterator for Segments {
    type Item = Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        if !matches!(self.state, State::Running) {
            return None;
        }
        match self.events.next() {
            Some(Event::Segment(segment)) => Some(Ok(segment)),
            Some(Event::Ended(ended)) => match *ended {
                Ok(transcript) => {
                    self.state = State::Done(Box::new(transcript));
                    None
                }
                Err(error) => self.fail(error),
            },
            None => self.fail(Error::Engine("its thread has panicked".into())),
        }
    }
}

impl FusedIterator for Segments {}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Running => "running",
            State::Done(_) => "done",
            State::Failed => "failed",
        };
        write!(f, "Segments({state})")
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
