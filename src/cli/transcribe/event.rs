//! What becomes of a file while it is worked on, for those who report it.

use std::sync::mpsc::Sender;

use anyhow::Result;

use crate::LanguageProbabilities;
use crate::cli::resolve::{Job, Shown};
use crate::error::Error;
use crate::transcript::{Dropped, Segment, SegmentSink, WindowTrace};

/// What becomes of a file, as it happens.
pub enum Event {
    /// The language that was detected, and how probable it is.
    Language(String, f64),
    Segment(Segment),
    Window(WindowTrace),
    Dropped(Dropped),
    /// The whole text, since no file could be written that would hold it.
    Rescued(String),
    /// What standard output is to have.
    Output(Vec<u8>),
    /// With what was wrong with the recording.
    Done(Result<Vec<String>>),
}

/// Passes on what is found, as far as it is to be shown.
pub struct EventSink<'a> {
    pub sender: &'a Sender<Event>,
    pub job: &'a Job,
}

impl EventSink<'_> {
    pub fn send(&self, event: Event) -> crate::Result<()> {
        self.sender.send(event).map_err(|_| Error::Cancelled)
    }
}

impl SegmentSink for EventSink<'_> {
    fn language(&mut self, found: &LanguageProbabilities) -> crate::Result<()> {
        let probability = found.probability(&found.best);
        self.send(Event::Language(found.best.clone(), probability))
    }

    fn segment(&mut self, segment: &Segment) -> crate::Result<()> {
        match self.job.shown {
            Shown::Nothing => Ok(()),
            _ => self.send(Event::Segment(segment.clone())),
        }
    }

    fn dropped(&mut self, dropped: &Dropped) -> crate::Result<()> {
        match self.job.trace {
            true => self.send(Event::Dropped(dropped.clone())),
            false => Ok(()),
        }
    }

    fn window(&mut self, trace: &WindowTrace) -> crate::Result<()> {
        match self.job.trace {
            true => self.send(Event::Window(trace.clone())),
            false => Ok(()),
        }
    }
}
