//! A recording that is being transcribed on a thread of its own.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use undertone::{
    Control, Engine, Error, Input, LanguageProbabilities, Segment, SegmentSink, SpeechSpan,
    TranscribeOptions, Transcript,
};

use crate::errors::raise;

/// Segments that may wait for Python: the work is not done ahead of who asks for it.
const WAITING: usize = 1;
/// How long a wait may keep the interpreter from its signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the thread says.
enum Event {
    /// The recording's seconds, and those with speech.
    Heard(f64, f64),
    Language(LanguageProbabilities),
    Segment(Box<Segment>),
    Ended(Box<undertone::Result<Transcript>>),
}

/// An iterator over segments, as JSON. Dropping it, or an interrupt, stops the work at its next step.
#[pyclass(frozen)]
pub struct Transcription {
    state: Mutex<State>,
    control: Control,
}

struct State {
    events: Receiver<Event>,
    /// Segments that came while something else was waited for.
    early: Vec<Segment>,
    duration_s: f64,
    speech_s: f64,
    language: Option<LanguageProbabilities>,
    transcript: Option<Transcript>,
    is_over: bool,
}

struct Sender(SyncSender<Event>);

impl Sender {
    fn send(&self, event: Event) -> undertone::Result<()> {
        self.0.send(event).map_err(|_| Error::Cancelled)
    }
}

impl SegmentSink for Sender {
    fn heard(&mut self, duration_s: f64, speech: Option<&[SpeechSpan]>) -> undertone::Result<()> {
        let spoken = |spans: &[SpeechSpan]| spans.iter().map(|span| span.end - span.start).sum();
        self.send(Event::Heard(duration_s, speech.map_or(duration_s, spoken)))
    }

    fn language(&mut self, found: &LanguageProbabilities) -> undertone::Result<()> {
        self.send(Event::Language(found.clone()))
    }

    fn segment(&mut self, segment: &Segment) -> undertone::Result<()> {
        self.send(Event::Segment(Box::new(segment.clone())))
    }
}

/// The language, its probability, and every language's.
type Language = (String, f64, Vec<(String, f64)>);

impl Transcription {
    /// Starts the thread. `progress` is called with the seconds done and in all.
    pub fn start(
        engine: Engine,
        input: Input,
        options: TranscribeOptions,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (sender, events) = sync_channel(WAITING);
        let mut control = Control::default();
        if let Some(progress) = progress {
            control.progress = Some(Arc::new(move |at| {
                // What a progress bar raises is no reason to lose the work.
                Python::attach(|py| drop(progress.call1(py, (at.done_s, at.total_s))));
            }));
        }
        let of_thread = control.clone();
        let work = move || {
            let mut sink = Sender(sender);
            let ended = engine.run(input, &options, &mut sink, &of_thread);
            // Nobody listens any more if this fails.
            let _ = sink.send(Event::Ended(Box::new(ended)));
        };
        std::thread::Builder::new()
            .name("undertone-python".into())
            .spawn(work)
            .map_err(|error| raise(Error::Thread(error)))?;
        Ok(Self {
            state: Mutex::new(State {
                events,
                early: Vec::new(),
                duration_s: 0.0,
                speech_s: 0.0,
                language: None,
                transcript: None,
                is_over: false,
            }),
            control,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what the thread says next, without the interpreter's lock; an interrupt ends the work.
    fn wait(&self, py: Python<'_>) -> PyResult<Event> {
        loop {
            let next = py.detach(|| self.state().events.recv_timeout(PATIENCE));
            match next {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| {
                    self.control.cancel.cancel();
                })?,
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = "the engine failed: its thread has panicked";
                    return Err(PyRuntimeError::new_err(reason));
                }
            }
        }
    }

    /// Takes an event in; the segment, if it is one.
    fn take(&self, event: Event) -> PyResult<Option<Segment>> {
        let mut state = self.state();
        match event {
            Event::Heard(seconds, spoken) => {
                (state.duration_s, state.speech_s) = (seconds, spoken);
            }
            Event::Language(found) => state.language = Some(found),
            Event::Segment(segment) => return Ok(Some(*segment)),
            Event::Ended(ended) => {
                state.is_over = true;
                state.transcript = Some((*ended).map_err(raise)?);
            }
        }
        Ok(None)
    }
}

#[pymethods]
impl Transcription {
    /// Waits until the recording was read and its language is known: its seconds, those with
    /// speech, and the language where it was detected.
    fn info(&self, py: Python<'_>, detects: bool) -> PyResult<(f64, f64, Option<Language>)> {
        loop {
            {
                let state = self.state();
                let is_known = state.duration_s > 0.0 && (!detects || state.language.is_some());
                if is_known || state.is_over || !state.early.is_empty() {
                    let language = state.language.as_ref().map(|found| {
                        let probability = found.probability(&found.best);
                        (found.best.clone(), probability, found.all.clone())
                    });
                    return Ok((state.duration_s, state.speech_s, language));
                }
            }
            let event = self.wait(py)?;
            if let Some(segment) = self.take(event)? {
                self.state().early.push(segment);
            }
        }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let early = {
            let mut state = self.state();
            (!state.early.is_empty()).then(|| state.early.remove(0))
        };
        let mut found = early;
        while found.is_none() && !self.state().is_over {
            let event = self.wait(py)?;
            found = self.take(event)?;
        }
        found.map(|segment| json(&segment)).transpose()
    }

    /// The whole transcript, as JSON, once all segments were asked for.
    fn transcript(&self) -> PyResult<Option<String>> {
        self.state().transcript.as_ref().map(json).transpose()
    }

    /// Stops the work at its next step.
    fn cancel(&self) {
        self.control.cancel.cancel();
    }
}

impl Drop for Transcription {
    fn drop(&mut self) {
        self.control.cancel.cancel();
    }
}

fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
