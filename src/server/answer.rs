//! Whole answers: a transcript in the format that was asked for, in vLLM's style or OpenAI's.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::{ApiError, ApiResult};
use super::schema::{Format, SpeechRequest};
use super::style::ApiStyle;
use crate::options::Task;
use crate::output::{OutputFormat, WriterOptions, write_transcript};
use crate::tokenizer::language_name;
use crate::transcript::{Segment, Transcript, Word};

/// An answer before it becomes a response.
#[derive(Debug, PartialEq)]
pub enum Body {
    Json(Value),
    Text(String),
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        match self {
            Self::Json(value) => Json(value).into_response(),
            Self::Text(text) => (plain, text).into_response(),
        }
    }
}

/// The whole seconds that a recording is billed as.
pub fn usage(duration_s: f64) -> Value {
    json!({"type": "duration", "seconds": duration_s.ceil() as u64})
}

/// The text as a style has it: OpenAI's without the space in front.
pub fn text(style: ApiStyle, text: &str) -> &str {
    match style {
        ApiStyle::Vllm => text,
        ApiStyle::OpenAi => text.trim_start(),
    }
}

/// The body for a transcript.
pub fn body(style: ApiStyle, request: &SpeechRequest, transcript: &Transcript) -> ApiResult<Body> {
    let plain = style == ApiStyle::OpenAi;
    Ok(match request.format {
        Format::Text if plain => Body::Text(format!("{}\n", text(style, &transcript.text))),
        Format::Json | Format::Text => Body::Json(short(style, request.task, transcript)),
        Format::VerboseJson => Body::Json(verbose(style, request, transcript)),
        Format::Srt => Body::Text(file(OutputFormat::Srt, transcript)?),
        Format::Vtt => Body::Text(file(OutputFormat::Vtt, transcript)?),
    })
}

fn short(style: ApiStyle, task: Task, transcript: &Transcript) -> Value {
    let mut body = json!({"text": text(style, &transcript.text)});
    if task == Task::Transcribe {
        body["usage"] = usage(transcript.duration_s);
    }
    body
}

fn verbose(style: ApiStyle, request: &SpeechRequest, transcript: &Transcript) -> Value {
    let words = request.word_times.then(|| {
        let words = transcript
            .segments
            .iter()
            .flat_map(|s| s.words.iter().flatten());
        words.map(|w| word(style, w)).collect::<Vec<_>>()
    });
    let mut body = json!({
        "duration": transcript.duration_s,
        "language": language(style, request.task, &transcript.language),
        "text": text(style, &transcript.text),
        "segments": transcript.segments.iter().map(segment).collect::<Vec<_>>(),
        "words": words,
        "usage": usage(transcript.duration_s),
    });
    if style == ApiStyle::OpenAi {
        body["task"] = json!(request.task.name());
    }
    body
}

/// vLLM gives a code, OpenAI a name, which for translations is that of the text.
fn language(style: ApiStyle, task: Task, code: &str) -> &str {
    match (style, task) {
        (ApiStyle::Vllm, _) => code,
        (ApiStyle::OpenAi, Task::Translate) => "english",
        (ApiStyle::OpenAi, Task::Transcribe) => language_name(code).unwrap_or(code),
    }
}

/// A segment under openai/whisper's names.
pub fn segment(s: &Segment) -> Value {
    json!({
        "id": s.id,
        "seek": s.seek,
        "start": s.start,
        "end": s.end,
        "text": s.text,
        "tokens": s.tokens,
        "temperature": s.temperature,
        "avg_logprob": s.avg_logprob,
        "compression_ratio": s.compression_ratio,
        "no_speech_prob": s.no_speech_prob,
    })
}

/// A word; OpenAI's have no space in front.
pub fn word(style: ApiStyle, w: &Word) -> Value {
    json!({"word": text(style, &w.word), "start": w.start, "end": w.end})
}

fn file(format: OutputFormat, transcript: &Transcript) -> ApiResult<String> {
    let mut bytes = Vec::new();
    let written = write_transcript(format, transcript, &WriterOptions::default(), &mut bytes);
    let text = written.ok().and_then(|()| String::from_utf8(bytes).ok());
    text.ok_or_else(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::form::{FilePart, Form};

    fn request(format: &str, task: Task) -> SpeechRequest {
        let fields = vec![
            ("response_format".to_owned(), format.to_owned()),
            ("timestamp_granularities[]".to_owned(), "word".to_owned()),
        ];
        SpeechRequest::read(&Form::of(fields, FilePart::Bytes(vec![])), task).unwrap()
    }

    fn transcript() -> Transcript {
        let word = |text: &str, start, end| Word {
            word: text.into(),
            start,
            end,
            probability: 0.5,
        };
        let segment = Segment {
            end: 1.5,
            text: " Hallo Welt.".into(),
            tokens: vec![1, 2],
            words: Some(vec![word(" Hallo", 0.0, 0.5), word(" Welt.", 0.5, 1.5)]),
            ..Segment::default()
        };
        Transcript {
            text: " Hallo Welt.".into(),
            segments: vec![segment],
            language: "de".into(),
            duration_s: 15.9,
            ..Transcript::default()
        }
    }

    #[test]
    fn short_bodies() {
        let ask = |style, format, task| body(style, &request(format, task), &transcript()).unwrap();
        let usage = json!({"type": "duration", "seconds": 16});
        for format in ["json", "text"] {
            assert_eq!(
                ask(ApiStyle::Vllm, format, Task::Transcribe),
                Body::Json(json!({"text": " Hallo Welt.", "usage": usage}))
            );
            let translated = ask(ApiStyle::Vllm, format, Task::Translate);
            assert_eq!(translated, Body::Json(json!({"text": " Hallo Welt."})));
        }
        let plain = ask(ApiStyle::OpenAi, "text", Task::Transcribe);
        assert_eq!(plain, Body::Text("Hallo Welt.\n".into()));
        let json = ask(ApiStyle::OpenAi, "json", Task::Transcribe);
        assert_eq!(
            json,
            Body::Json(json!({"text": "Hallo Welt.", "usage": usage}))
        );
    }

    #[test]
    fn verbose_bodies() {
        let ask = |style, task| match body(style, &request("verbose_json", task), &transcript()) {
            Ok(Body::Json(value)) => value,
            other => panic!("{other:?}"),
        };
        let vllm = ask(ApiStyle::Vllm, Task::Transcribe);
        assert_eq!(
            (&vllm["duration"], &vllm["language"]),
            (&json!(15.9), &json!("de"))
        );
        assert_eq!(
            vllm["words"][1],
            json!({"word": " Welt.", "start": 0.5, "end": 1.5})
        );
        assert_eq!(vllm["segments"][0]["no_speech_prob"], 0.0);
        assert!(vllm.get("task").is_none());
        let openai = ask(ApiStyle::OpenAi, Task::Transcribe);
        assert_eq!(
            (&openai["task"], &openai["language"]),
            (&json!("transcribe"), &json!("german"))
        );
        assert_eq!(openai["words"][0]["word"], "Hallo");
        assert_eq!(
            ask(ApiStyle::OpenAi, Task::Translate)["language"],
            "english"
        );
    }

    #[test]
    fn subtitles_are_plain_text_in_both_styles() {
        for (_, style) in ApiStyle::ALL {
            let ask = |format| body(style, &request(format, Task::Transcribe), &transcript());
            let srt = "1\n00:00:00,000 --> 00:00:01,500\nHallo Welt.\n\n";
            assert_eq!(ask("srt").unwrap(), Body::Text(srt.into()));
            let vtt = "WEBVTT\n\n00:00.000 --> 00:01.500\nHallo Welt.\n\n";
            assert_eq!(ask("vtt").unwrap(), Body::Text(vtt.into()));
        }
    }
}
