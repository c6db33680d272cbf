//! One request's recording through the engine, on a thread that may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::App;
use super::error::{ApiError, ApiResult};
use super::gate::Place;
use super::models::Held;
use super::schema::SpeechRequest;
use crate::audio::{Input, Limits};
use crate::batcher::Cancel;
use crate::dims::FRAMES_PER_SECOND;
use crate::engine::{Control, Engine};
use crate::error::{Error, Result};
use crate::transcript::{Segment, SegmentSink, Transcript};

/// What happens to a request, in order: it starts, segments are found, it ends. One that is refused
/// ends without a start.
pub enum Event {
    /// The recording has been read; what its prompt counts as in tokens.
    Started(usize),
    Found(Box<Found>),
    Ended(Box<ApiResult<Heard>>),
}

/// A segment, and what it adds to the text.
pub struct Found {
    pub delta: String,
    pub segment: Segment,
}

/// The whole result, and the end of the text that no segment had.
#[derive(Debug)]
pub struct Heard {
    pub rest: String,
    pub transcript: Transcript,
}

/// A request that was accepted.
pub struct Work {
    pub request: SpeechRequest,
    pub recording: Arc<[u8]>,
    pub cancel: Cancel,
    /// What the log calls it.
    pub id: String,
    /// Its place among the requests inside, held as long as it runs.
    pub place: Place,
}

impl Work {
    /// Runs it to its end. Blocks.
    pub fn run(self, app: &App, send: impl Fn(Event) + Clone + Send + Sync + 'static) {
        let outcome = self.hear(app, send.clone());
        drop(self.place);
        if let Err(error) = &outcome
            && error.status.is_server_error()
            && !self.cancel.is_cancelled()
        {
            app.metrics.failed();
        }
        send(Event::Ended(Box::new(outcome)));
    }

    fn hear(
        &self,
        app: &App,
        send: impl Fn(Event) + Clone + Send + Sync + 'static,
    ) -> ApiResult<Heard> {
        let model = app.models.find(self.request.model.as_deref())?;
        let Held { engine, .. } = &model.hold().map_err(|error| self.refused(error))?;
        let options = engine
            .check(&self.request.options(app.config.style))
            .map_err(|error| self.refused(error))?;
        let (started, first) = (Instant::now(), AtomicBool::new(true));
        let (prompt, tell) = (self.prompt_tokens(engine), send.clone());
        let control = Control {
            cancel: self.cancel.clone(),
            limits: Limits {
                max_seconds: Some(app.config.max_seconds),
                ..Limits::default()
            },
            progress: Some(Arc::new(move |progress| {
                if first.swap(false, Ordering::Relaxed) {
                    // vLLM counts a token for each mel frame.
                    let frames = (progress.total_s * FRAMES_PER_SECOND as f64).ceil();
                    tell(Event::Started(prompt + frames as usize));
                }
            })),
            journal: None,
        };
        let input = Input::Bytes {
            name: "upload".into(),
            data: self.recording.clone(),
        };
        let mut sink = Deltas::new(engine, move |found| send(Event::Found(Box::new(found))));
        let transcript = engine
            .run(input, &options, &mut sink, &control)
            .map_err(|error| self.refused(error))?;
        app.metrics.heard(transcript.duration_s, started.elapsed());
        let rest = transcript.text.strip_prefix(sink.sent.as_str());
        let rest = rest.unwrap_or_default().to_owned();
        Ok(Heard { rest, transcript })
    }

    /// The log says what the answer does not.
    fn refused(&self, error: Error) -> ApiError {
        let answer = ApiError::from_error(&error);
        if answer.status.is_server_error() && !matches!(error, Error::Cancelled) {
            tracing::error!(id = self.id, %error, "the engine failed");
        } else {
            tracing::debug!(id = self.id, %error, "refused");
        }
        answer
    }

    /// The decoder's prompt: the tokens of the start, and the request's own with theirs.
    fn prompt_tokens(&self, engine: &Engine) -> usize {
        let start = if engine.languages().len() > 1 { 3 } else { 1 };
        let prompt = match self.request.prompt.as_str() {
            "" => 0,
            prompt => 1 + engine.encode_text(&format!(" {}", prompt.trim())).len(),
        };
        start + prompt
    }
}

/// Cuts the text of all tokens into what each segment adds. A character whose bytes two segments share
/// goes to the later one.
struct Deltas<'a, F> {
    engine: &'a Engine,
    send: F,
    pending: Vec<u32>,
    sent: String,
}

impl<'a, F: Fn(Found)> Deltas<'a, F> {
    fn new(engine: &'a Engine, send: F) -> Self {
        Self {
            engine,
            send,
            pending: Vec::new(),
            sent: String::new(),
        }
    }
}

impl<F: Fn(Found)> SegmentSink for Deltas<'_, F> {
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        self.pending.extend(&segment.tokens);
        let mut delta = self.engine.decode_tokens(&self.pending);
        if delta.ends_with(char::REPLACEMENT_CHARACTER) {
            delta.clear();
        } else {
            self.pending.clear();
        }
        self.sent += &delta;
        (self.send)(Found {
            delta,
            segment: segment.clone(),
        });
        Ok(())
    }
}
