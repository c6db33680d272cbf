//! OpenAI's batch files: a request a line in, an answer a line out, without a server between.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::answer::{self, Body};
use super::error::{ApiError, ApiResult};
use super::form::{FilePart, Form};
use super::models::Models;
use super::request_id::fresh_id;
use super::routes::SPEECH;
use super::schema::SpeechRequest;
use super::work::{Event, Work};
use super::{App, Config};

/// What some programs put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a line's recording may be read from, beside `data:` URLs.
pub struct BatchReader {
    /// Files below this folder, by `file:` URLs and plain paths.
    pub files: bool,
    /// `http:` and `https:` URLs.
    pub fetch: Option<Fetch>,
}

/// What gets the bytes behind a URL, or says why not.
pub type Fetch = Box<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

/// Answers every line of `lines` into `out`, in order, several at a time; gives how many failed. A line
/// that is no request is answered with its error.
///
/// # Errors
/// Where `lines` cannot be read or `out` not written.
pub fn run_batch(
    models: Models,
    config: Config,
    reader: &BatchReader,
    lines: impl BufRead,
    out: &mut dyn Write,
) -> std::io::Result<usize> {
    let side_by_side = config.max_running.max(1);
    let app = App::new(models, config);
    let lines: Vec<Vec<u8>> = lines.split(b'\n').collect::<Result<_, _>>()?;
    let lines: Vec<&[u8]> = lines
        .iter()
        .map(|line| {
            line.strip_prefix(BYTE_ORDER_MARK)
                .unwrap_or(line)
                .trim_ascii()
        })
        .filter(|line| !line.is_empty())
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let (sender, answers) = channel();
    std::thread::scope(|scope| {
        for _ in 0..side_by_side.min(lines.len()) {
            let (sender, app, lines, next) = (sender.clone(), &app, &lines, &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(line) = lines.get(at) else { break };
                    if sender.send((at, answer_line(app, reader, line))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        write_in_order(answers.iter(), out)
    })
}

/// Writes answers as soon as those before them are written; gives how many are refusals.
fn write_in_order(
    answers: impl Iterator<Item = (usize, Value)>,
    out: &mut dyn Write,
) -> std::io::Result<usize> {
    let (mut early, mut next, mut failed) = (std::collections::BTreeMap::new(), 0, 0);
    for (at, answer) in answers {
        early.insert(at, answer);
        while let Some(answer) = early.remove(&next) {
            failed += usize::from(answer["response"]["status_code"] != 200);
            writeln!(out, "{answer}")?;
            out.flush()?;
            next += 1;
        }
    }
    Ok(failed)
}

fn answer_line(app: &Arc<App>, reader: &BatchReader, line: &[u8]) -> Value {
    let id = fresh_id();
    let parsed: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
    let custom_id = parsed
        .as_ref()
        .and_then(|fields| fields.get("custom_id"))
        .cloned();
    let outcome = match &parsed {
        Some(fields) => answer_request(app, reader, fields, &id),
        None => Err(ApiError::bad("The line is not a JSON object.")),
    };
    let (status, body, error) = match outcome {
        Ok(Body::Json(body)) => (200, body, Value::Null),
        Ok(Body::Text(text)) => (200, Value::String(text), Value::Null),
        Err(error) => (
            error.status.as_u16(),
            Value::Null,
            error.body()["error"].clone(),
        ),
    };
    json!({
        "id": format!("undertone-{id}"),
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": format!("undertone-batch-{id}"), "body": body},
        "error": error,
    })
}

fn answer_request(
    app: &Arc<App>,
    reader: &BatchReader,
    fields: &Map<String, Value>,
    id: &str,
) -> ApiResult<Body> {
    let url = fields.get("url").and_then(Value::as_str);
    let route = SPEECH.iter().find(|(path, _)| url == Some(*path));
    let Some((_, task)) = route else {
        let [transcribe, translate] = SPEECH.map(|(path, _)| path);
        let message = format!("Input should be {transcribe} or {translate}");
        return Err(ApiError::shape("url", &message));
    };
    if fields.get("method").is_some_and(|method| method != "POST") {
        return Err(ApiError::shape("method", "Input should be POST"));
    }
    let Some(body) = fields.get("body").and_then(Value::as_object) else {
        return Err(ApiError::shape("body", "Input should be an object"));
    };
    let url = body
        .get("file_url")
        .or(body.get("file"))
        .and_then(Value::as_str);
    let url = url.ok_or_else(|| ApiError::shape("file_url", "Field required"))?;
    let recording = reader.read(url, app.max_upload_bytes())?;
    let form = Form::of(as_form(body), FilePart::Bytes(recording));
    let request = SpeechRequest::read(&form, *task)?;
    if request.stream {
        return Err(ApiError::value("stream", "A batch is not streamed"));
    }
    request.check(&app.models)?;
    let FilePart::Bytes(recording) = form.file else {
        return Err(ApiError::internal());
    };
    let work = Work {
        request: request.clone(),
        recording: recording.into(),
        cancel: app.cancel.child(),
        id: id.to_owned(),
        place: app.gate.enter()?,
    };
    let (sender, events) = channel();
    work.run(app, move |event| {
        // The receiver outlives the work.
        let _ = sender.send(event);
    });
    for event in events {
        if let Event::Ended(outcome) = event {
            return answer::body(app.config.style, &request, &(*outcome)?.transcript);
        }
    }
    Err(ApiError::internal())
}

/// A JSON body's fields as a form has them: lists repeated, numbers and booleans as text.
fn as_form(body: &Map<String, Value>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (name, value) in body {
        let mut add = |value: &Value| match value {
            Value::Null => {}
            Value::String(text) => fields.push((name.clone(), text.clone())),
            other => fields.push((name.clone(), other.to_string())),
        };
        match value {
            Value::Array(items) => items.iter().for_each(&mut add),
            value => add(value),
        }
    }
    fields.retain(|(name, _)| name != "file" && name != "file_url");
    fields
}

impl BatchReader {
    fn read(&self, url: &str, most_bytes: usize) -> ApiResult<Vec<u8>> {
        let refuse = |reason: String| ApiError::value("file_url", &reason);
        let bytes = if let Some(data) = url.strip_prefix("data:") {
            let (_, coded) = data
                .split_once(";base64,")
                .ok_or_else(|| refuse("A data: URL must be in base64".into()))?;
            STANDARD
                .decode(coded.trim())
                .map_err(|_| refuse("The base64 of the data: URL is damaged".into()))?
        } else if url.starts_with("http:") || url.starts_with("https:") {
            let fetch = self.fetch.as_ref();
            let fetch = fetch.ok_or_else(|| {
                refuse("URLs are not fetched unless --allow-http is given".into())
            })?;
            fetch(url).map_err(|reason| refuse(format!("The URL cannot be fetched: {reason}")))?
        } else {
            let path = Path::new(url.strip_prefix("file://").unwrap_or(url));
            if !self.files {
                return Err(refuse("Files of this machine are not read".into()));
            }
            std::fs::read(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?
        };
        match bytes.len() > most_bytes {
            true => Err(ApiError::upload_too_large(most_bytes as f64 / 1_048_576.0)),
            false => Ok(bytes),
        }
    }
}
