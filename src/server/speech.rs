//! The way of a request for speech: read it, check it, wait for a turn, hear the recording, answer.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{ApiError, ApiResult};
use super::form::{FilePart, Form, drain};
use super::request_id::{RequestId, fresh_id};
use super::schema::SpeechRequest;
use super::stream::Messages;
use super::work::{Event, Heard, Work};
use super::{App, answer, stream};
use crate::batcher::Cancel;
use crate::options::Task;

/// A request for speech, to its answer.
pub async fn speech(app: Arc<App>, request: Request, task: Task) -> Response {
    match answered(&app, request, task).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answered(app: &Arc<App>, http: Request, task: Task) -> ApiResult<Response> {
    let config = &app.config;
    let id = http.extensions().get::<RequestId>();
    let id = id.map_or_else(fresh_id, |id| id.0.clone());
    let mut place = match app.gate.enter() {
        Ok(place) => place,
        Err(busy) => {
            drain(http.into_body()).await;
            return Err(busy);
        }
    };
    let form = Form::read(http, app.max_upload_bytes());
    let form = timeout(config.upload_timeout, form).await;
    let form = form.map_err(|_| ApiError::slow_upload(config.upload_timeout.as_secs_f64()))??;
    let request = SpeechRequest::read(&form, task)?;
    let FilePart::Bytes(recording) = form.file else {
        return Err(ApiError::upload_too_large(config.max_upload_mb));
    };
    request.check(&app.models)?;
    let deadline = Instant::now() + config.request_timeout;
    let turn = timeout_at(deadline, app.gate.run(&mut place)).await;
    turn.map_err(|_| too_late(app))??;
    let cancel = app.cancel.child();
    let work = Work {
        request: request.clone(),
        recording: recording.into(),
        cancel: cancel.clone(),
        id: id.clone(),
        place,
    };
    let events = Events::start(app, work, cancel, deadline);
    match request.stream {
        true => streamed(app, &request, &id, events).await,
        false => whole(app, &request, events).await,
    }
}

async fn whole(app: &App, request: &SpeechRequest, mut events: Events) -> ApiResult<Response> {
    loop {
        if let Event::Ended(outcome) = events.next().await {
            let body = answer::body(app.config.style, request, &(*outcome)?.transcript)?;
            return Ok(body.into_response());
        }
    }
}

/// A stream, once the recording was read: refusals before that are plain answers.
async fn streamed(
    app: &App,
    request: &SpeechRequest,
    id: &str,
    mut events: Events,
) -> ApiResult<Response> {
    let prompt_tokens = match events.next().await {
        Event::Started(tokens) => tokens,
        Event::Ended(outcome) => return Err((*outcome).err().unwrap_or_else(ApiError::internal)),
        Event::Found(_) => return Err(ApiError::internal()),
    };
    let served = app.models.served(request.model.as_deref());
    let model = served.map_or("", |served| served.name.as_str());
    let config = &app.config;
    let messages = Messages::new(config.style, request, id, model, prompt_tokens)
        .with_usage(request, config.always_usage);
    let pieces = futures_util::stream::unfold(Some((messages, events)), next_piece);
    let headers = [
        (header::CONTENT_TYPE, stream::KIND),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

type Streaming = Option<(Messages, Events)>;

/// The next piece of a stream, and what is left of it.
async fn next_piece(streaming: Streaming) -> Option<(Result<String, Infallible>, Streaming)> {
    let (mut messages, mut events) = streaming?;
    loop {
        match events.next().await {
            Event::Started(_) => {}
            Event::Found(found) => {
                let piece = messages.found(&found);
                return Some((Ok(piece), Some((messages, events))));
            }
            Event::Ended(outcome) => return Some((Ok(messages.ended(&outcome)), None)),
        }
    }
}

fn too_late(app: &App) -> ApiError {
    ApiError::deadline(app.config.request_timeout.as_secs_f64())
}

/// What a request's work tells. Dropped before the end, as when the client leaves, it stops the work.
struct Events {
    app: Arc<App>,
    receiver: UnboundedReceiver<Event>,
    cancel: Cancel,
    deadline: Instant,
    is_over: bool,
}

impl Events {
    /// Starts the work on a thread that may block.
    fn start(app: &Arc<App>, work: Work, cancel: Cancel, deadline: Instant) -> Self {
        let (sender, receiver) = unbounded_channel();
        let shared = app.clone();
        tokio::task::spawn_blocking(move || {
            work.run(&shared, move |event| {
                // Whoever asked may have left; the work is cancelled then.
                let _ = sender.send(event);
            });
        });
        Self {
            app: app.clone(),
            receiver,
            cancel,
            deadline,
            is_over: false,
        }
    }

    /// The next event; the last one is an end.
    async fn next(&mut self) -> Event {
        let event = match timeout_at(self.deadline, self.receiver.recv()).await {
            Ok(Some(event)) => event,
            // The thread ended without a word: it panicked.
            Ok(None) => ended(ApiError::internal()),
            Err(_) => {
                self.stop();
                ended(too_late(&self.app))
            }
        };
        if let Event::Ended(outcome) = &event
            && !self.is_over
        {
            self.is_over = true;
            if self.app.cancel.is_cancelled() && outcome.is_err() {
                self.app.metrics.cancelled();
            }
        }
        event
    }

    fn stop(&mut self) {
        self.is_over = true;
        self.cancel.cancel();
        self.app.metrics.cancelled();
    }
}

fn ended(error: ApiError) -> Event {
    Event::Ended(Box::new(Err::<Heard, _>(error)))
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.is_over {
            self.stop();
        }
    }
}
