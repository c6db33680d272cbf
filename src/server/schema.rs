//! A form's fields as what they mean: the request fields of OpenAI's audio routes and vLLM's.
//!
//! Fields that are not named here are accepted and ignored, as there.

use super::error::{ApiError, ApiResult};
use super::fields::Fields;
use super::form::{FilePart, Form};
use super::models::Models;
use super::style::ApiStyle;
use crate::options::{DecodingOptions, Gates, Phrase, Sampling, Task, TranscribeOptions};
use crate::tokenizer::language_name;
use crate::vad::VadOptions;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
    Srt,
    Vtt,
    VerboseJson,
}

const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("text", Format::Text),
    ("srt", Format::Srt),
    ("verbose_json", Format::VerboseJson),
    ("vtt", Format::Vtt),
];

impl Format {
    fn read(fields: &Fields<'_>) -> ApiResult<Self> {
        let Some(name) = fields.text("response_format") else {
            return Ok(Self::Json);
        };
        let known = FORMATS.iter().find(|(known, _)| *known == name);
        let names = FORMATS.map(|(name, _)| format!("'{name}'")).join(", ");
        known.map(|(_, format)| *format).ok_or_else(|| {
            let message = format!("Input should be one of {names}");
            ApiError::shape("response_format", &message)
        })
    }

    pub fn name(self) -> &'static str {
        let named = FORMATS.iter().find(|(_, format)| *format == self);
        named.map_or("json", |(name, _)| name)
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechRequest {
    pub task: Task,
    pub model: Option<String>,
    pub language: Option<String>,
    pub to_language: Option<String>,
    pub prompt: String,
    pub format: Format,
    /// `None` where it was not given: then it is 0 and rises where a window fails.
    pub temperature: Option<f64>,
    pub word_times: bool,
    pub stream: bool,
    /// Each streamed message also carries its segment with times: ours, for the web page.
    pub stream_segments: bool,
    pub include_usage: bool,
    pub continuous_usage: bool,
    pub max_tokens: Option<usize>,
    pub sampling: Sampling,
    pub seed: u64,
    /// Where it is, speech is looked for first: ours.
    pub vad: Option<VadOptions>,
    /// Terms to expect: ours.
    pub phrases: Vec<Phrase>,
    pub beams: Option<usize>,
    pub length_penalty: f64,
}

impl SpeechRequest {
    /// Reads the fields of a form; the file is looked at for its presence alone.
    pub fn read(form: &Form, task: Task) -> ApiResult<Self> {
        let fields = Fields(form);
        if matches!(form.file, FilePart::Text) && task == Task::Transcribe {
            return Err(ApiError::file_is_text());
        }
        let request = Self {
            task,
            model: fields.text("model"),
            language: fields.text("language"),
            to_language: fields.text("to_language"),
            prompt: fields.text("prompt").unwrap_or_default(),
            format: Format::read(&fields)?,
            temperature: fields.maybe_number("temperature", 0.0..=2.0)?,
            word_times: fields.granularities()?,
            stream: fields.flag("stream")?,
            stream_segments: fields.flag("stream_segments")?,
            include_usage: fields.flag("stream_include_usage")?,
            continuous_usage: fields.flag("stream_continuous_usage_stats")?,
            max_tokens: fields.max_tokens()?,
            sampling: fields.sampling()?,
            seed: fields
                .parsed::<i64>("seed", "integer")?
                .unwrap_or(0)
                .cast_unsigned(),
            vad: fields.vad()?,
            phrases: fields.phrases()?,
            beams: fields.beams()?,
            length_penalty: fields.number("length_penalty", 1.0, f64::MIN..=f64::MAX)?,
        };
        fields.flag("include_stop_str_in_output")?;
        fields.extra_arguments()?;
        match form.file {
            FilePart::Missing | FilePart::Text => Err(ApiError::shape("file", "Field required")),
            _ => request.stream_options(),
        }
    }

    fn stream_options(self) -> ApiResult<Self> {
        let options = [
            ("stream_include_usage", self.include_usage),
            ("stream_continuous_usage_stats", self.continuous_usage),
        ];
        match options.iter().find(|(_, asked)| *asked && !self.stream) {
            Some((param, _)) => {
                let message = "Stream options can only be defined when `stream=True`.";
                Err(ApiError::value(param, message))
            }
            None => Ok(self),
        }
    }

    /// What the fields say together and of the models that are served, in vLLM's order.
    pub fn check(&self, models: &Models) -> ApiResult<()> {
        self.check_beams()?;
        models.find(self.model.as_deref())?;
        self.check_stream_format()?;
        let languages = [
            ("language", &self.language),
            ("to_language", &self.to_language),
        ];
        for (param, language) in languages {
            let unknown = language
                .as_ref()
                .filter(|code| language_name(code).is_none());
            if let Some(code) = unknown {
                return Err(unsupported_language(code).at(param));
            }
        }
        Ok(())
    }

    /// Beams and a stream exclude each other.
    fn check_beams(&self) -> ApiResult<()> {
        match self.stream && self.beams.is_some() {
            true => Err(ApiError::bad(
                "Streaming is not currently supported with beam search",
            )),
            false => Ok(()),
        }
    }

    /// Only formats that grow at their end can be streamed.
    fn check_stream_format(&self) -> ApiResult<()> {
        match self.format {
            Format::Json | Format::Text => Ok(()),
            _ if !self.stream => Ok(()),
            format => {
                let message = format!("{} format doesn't support streaming case", format.name());
                Err(ApiError::bad(message))
            }
        }
    }

    /// The options of the command line that ask for the same. vLLM's server decodes at the temperature
    /// that is given and at no other; OpenAI's takes 0 for leave to raise it.
    pub fn options(&self, style: ApiStyle) -> TranscribeOptions {
        let mut gates = Gates::default();
        let given = self
            .temperature
            .filter(|t| style == ApiStyle::Vllm || *t > 0.0);
        // Beams take the best; a temperature beside them means nothing.
        if let Some(temperature) = given.filter(|_| self.beams.is_none()) {
            gates.temperatures = vec![temperature];
        }
        // A beam of one is greedy.
        let beam_size = self.beams.filter(|n| *n > 1);
        TranscribeOptions {
            decoding: DecodingOptions {
                task: self.task,
                language: self.language.clone(),
                max_new_tokens: self.max_tokens,
                // The samples of openai/whisper's higher temperatures; a temperature that is asked for
                // draws once.
                best_of: (gates.temperatures.len() > 1).then_some(5),
                beam_size,
                length_exponent: beam_size.map(|_| self.length_penalty),
                seed: self.seed,
                sampling: self.sampling,
                ..DecodingOptions::default()
            },
            gates,
            initial_prompt: (!self.prompt.is_empty()).then(|| self.prompt.clone()),
            vad: self.vad,
            phrases: self.phrases.clone(),
            word_timestamps: self.word_times,
            ..TranscribeOptions::default()
        }
    }
}

/// The codes that vLLM names where one is refused; all of Whisper's are taken.
const NAMED_LANGUAGES: &str = "af ar az be bg bs ca cs cy da de el en es et fa fi fr gl he hi hr hu hy id is it ja \
    kk kn ko lt lv mi mk mr ms ne nl no pl pt ro ru sk sl sr sv sw ta th tl tr uk ur vi zh";

fn unsupported_language(code: &str) -> ApiError {
    let named = NAMED_LANGUAGES.split_whitespace();
    let named: Vec<String> = named.map(|code| format!("'{code}'")).collect();
    let named = named.join(", ");
    ApiError::bad(format!(
        "Unsupported language: '{code}'.  Must be one of [{named}]"
    ))
}

#[cfg(test)]
mod tests;
