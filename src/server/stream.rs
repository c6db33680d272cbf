//! Answers that come as they are found: server-sent events whose texts, put together, are the whole
//! answer's text byte for byte.
//!
//! In vLLM's style every message is a superset of vLLM's chunk and OpenAI's delta event; in OpenAI's
//! style it is the event alone. A window's text is known when the quality gates have passed it, so
//! messages come by segment, not by token.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::header;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use super::error::ApiError;
use super::schema::SpeechRequest;
use super::style::ApiStyle;
use super::work::{Found, Heard};
use crate::options::Task;

/// What ends every stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// What a stream is sent as.
pub const KIND: &str = "text/event-stream";

/// Whether an answer is a stream.
pub fn is_one(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind == KIND)
}

/// Turns what is found into messages.
pub struct Messages {
    style: ApiStyle,
    /// The fields that every chunk has.
    head: Value,
    segments: bool,
    words: bool,
    /// Usage in a message of its own at the end, and in every one.
    usage: bool,
    continuous_usage: bool,
    max_tokens: Option<usize>,
    is_first: bool,
    tokens: usize,
    prompt_tokens: usize,
}

fn message(value: &Value) -> String {
    format!("data: {value}\n\n")
}

impl Messages {
    /// For one request, whose prompt and recording count as so many tokens.
    pub fn new(
        style: ApiStyle,
        request: &SpeechRequest,
        id: &str,
        model: &str,
        prompt_tokens: usize,
    ) -> Self {
        let (verb, object) = match request.task {
            Task::Transcribe => ("transcribe", "transcription.chunk"),
            Task::Translate => ("translate", "translation.chunk"),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            style,
            head: json!({
                "id": format!("{verb}-{id}"),
                "object": object,
                "created": since.map_or(0, |since| since.as_secs()),
                "model": model,
            }),
            segments: request.stream_segments,
            words: request.word_times,
            usage: false,
            continuous_usage: false,
            max_tokens: request.max_tokens,
            is_first: true,
            tokens: 0,
            prompt_tokens,
        }
    }

    /// With usage as the request, or the server always, has it.
    pub fn with_usage(self, request: &SpeechRequest, always: bool) -> Self {
        Self {
            usage: request.include_usage || always,
            continuous_usage: request.include_usage && request.continuous_usage,
            ..self
        }
    }

    /// A segment.
    pub fn found(&mut self, found: &Found) -> String {
        self.tokens += found.segment.tokens.len();
        let mut chunk = self.chunk(&found.delta, None);
        if self.segments {
            let s = &found.segment;
            chunk["segment"] = json!({"id": s.id, "start": s.start, "end": s.end, "text": s.text});
            if self.words {
                let words = s.words.iter().flatten();
                let words: Vec<Value> = words.map(|w| answer::word(self.style, w)).collect();
                chunk["segment"]["words"] = json!(words);
            }
        }
        message(&chunk)
    }

    /// The end, well or badly.
    pub fn ended(mut self, outcome: &Result<Heard, ApiError>) -> String {
        let heard = match outcome {
            Ok(heard) => heard,
            Err(error) => return message(&error.body()) + DONE,
        };
        let text = if self.style == ApiStyle::OpenAi {
            let mut text = String::new();
            if !heard.rest.is_empty() {
                text += &message(&self.chunk(&heard.rest, None));
            }
            text + &message(&json!({
                "type": "transcript.text.done",
                "text": answer::text(self.style, &heard.transcript.text),
                "usage": answer::usage(heard.transcript.duration_s),
            }))
        } else {
            let is_cut = self.max_tokens.is_some_and(|most| self.tokens >= most);
            let reason = if is_cut { "length" } else { "stop" };
            let mut text = message(&self.chunk(&heard.rest, Some(reason)));
            if self.usage {
                let mut chunk = self.head.clone();
                chunk["choices"] = json!([]);
                chunk["usage"] = self.usage();
                text += &message(&chunk);
            }
            text
        };
        text + DONE
    }

    fn chunk(&mut self, delta: &str, finish: Option<&str>) -> Value {
        let delta = match std::mem::take(&mut self.is_first) {
            true => answer::text(self.style, delta),
            false => delta,
        };
        let event = json!({"type": "transcript.text.delta", "delta": delta});
        if self.style == ApiStyle::OpenAi {
            return event;
        }
        let mut choice = json!({"delta": {"content": delta}});
        if let Some(reason) = finish {
            choice["finish_reason"] = json!(reason);
            choice["stop_reason"] = Value::Null;
        }
        let mut chunk = self.head.clone();
        chunk["choices"] = json!([choice]);
        chunk["type"] = event["type"].clone();
        chunk["delta"] = event["delta"].clone();
        if self.continuous_usage {
            chunk["usage"] = self.usage();
        }
        chunk
    }

    fn usage(&self) -> Value {
        let (prompt, tokens) = (self.prompt_tokens, self.tokens);
        json!({
            "prompt_tokens": prompt,
            "total_tokens": prompt + tokens,
            "completion_tokens": tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::form::{FilePart, Form};
    use crate::transcript::{Segment, Transcript};

    fn messages(style: ApiStyle, fields: &[(&str, &str)], always: bool) -> Messages {
        let fields = fields.iter().chain(&[("stream", "true")]);
        let fields = fields
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let form = Form::of(fields, FilePart::Bytes(vec![]));
        let request = SpeechRequest::read(&form, Task::Transcribe).unwrap();
        Messages::new(style, &request, "7", "base", 103).with_usage(&request, always)
    }

    fn found(delta: &str) -> Found {
        let segment = Segment {
            text: delta.into(),
            tokens: vec![1, 2, 3],
            ..Segment::default()
        };
        Found {
            delta: delta.into(),
            segment,
        }
    }

    fn heard() -> Result<Heard, ApiError> {
        Ok(Heard {
            rest: String::new(),
            transcript: Transcript {
                text: " Mary had".into(),
                duration_s: 1.2,
                ..Transcript::default()
            },
        })
    }

    /// The messages, parsed; what ends them is there.
    fn run(mut messages: Messages, outcome: &Result<Heard, ApiError>) -> Vec<Value> {
        let mut text = messages.found(&found(" Mary")) + &messages.found(&found(" had"));
        text += &messages.ended(outcome);
        let text = text.strip_suffix(DONE).unwrap();
        let lines = text.split_terminator("\n\n");
        let parse = |line: &str| serde_json::from_str(line.strip_prefix("data: ").unwrap());
        lines.map(|line| parse(line).unwrap()).collect()
    }

    #[test]
    fn chunks_are_vllms_and_openais_at_once() {
        let chunks = run(messages(ApiStyle::Vllm, &[], false), &heard());
        assert_eq!(chunks.len(), 3);
        let mut text = String::new();
        for chunk in &chunks {
            assert_eq!(
                (&chunk["id"], &chunk["object"]),
                (&json!("transcribe-7"), &json!("transcription.chunk"))
            );
            assert_eq!(chunk["type"], "transcript.text.delta");
            assert_eq!(chunk["delta"], chunk["choices"][0]["delta"]["content"]);
            assert!(chunk.get("usage").is_none() && chunk.get("segment").is_none());
            text += chunk["delta"].as_str().unwrap();
        }
        assert_eq!(text, " Mary had");
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks[2]["choices"][0]["stop_reason"], Value::Null);
    }

    #[test]
    fn usage_comes_last_and_in_every_message_only_if_both_are_asked_for() {
        let both = [
            ("stream_include_usage", "true"),
            ("stream_continuous_usage_stats", "true"),
        ];
        let cases = [
            (&both[..0], false, false, false),
            (&both[..1], false, true, false),
            (&both[1..], false, false, false),
            (&both[..], false, true, true),
            (&both[1..], true, true, false),
        ];
        for (fields, always, last, every) in cases {
            let chunks = run(messages(ApiStyle::Vllm, fields, always), &heard());
            let own = chunks.iter().filter(|chunk| chunk["choices"] == json!([]));
            let own: Vec<_> = own.collect();
            assert_eq!(own.len(), usize::from(last), "{fields:?}");
            if last {
                let usage =
                    json!({"prompt_tokens": 103, "total_tokens": 109, "completion_tokens": 6});
                assert_eq!(own[0]["usage"], usage);
            }
            for chunk in &chunks[..3] {
                assert_eq!(chunk.get("usage").is_some(), every, "{fields:?}");
            }
        }
    }

    #[test]
    fn openais_events_have_no_space_in_front_and_a_whole_text_at_the_end() {
        let events = run(messages(ApiStyle::OpenAi, &[], false), &heard());
        assert_eq!(
            events[0],
            json!({"type": "transcript.text.delta", "delta": "Mary"})
        );
        assert_eq!(events[1]["delta"], " had");
        assert_eq!(events[2]["type"], "transcript.text.done");
        assert_eq!(events[2]["text"], "Mary had");
        assert_eq!(
            events[2]["usage"],
            json!({"type": "duration", "seconds": 2})
        );
    }

    #[test]
    fn segments_and_limits_and_failures() {
        let fields = [("stream_segments", "1"), ("max_completion_tokens", "6")];
        let chunks = run(messages(ApiStyle::Vllm, &fields, false), &heard());
        assert_eq!(chunks[0]["segment"]["text"], " Mary");
        assert!(chunks[0]["segment"].get("words").is_none());
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
        let failed = run(
            messages(ApiStyle::Vllm, &[], false),
            &Err(ApiError::internal()),
        );
        assert_eq!(failed[2]["error"]["code"], 500);
    }
}
