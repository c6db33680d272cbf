//! A form's fields by name, each with its check.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;

use super::error::{ApiError, ApiResult};
use super::form::Form;
use crate::options::{MAX_ROWS, Phrase, Sampling, parse_sent};
use crate::vad::{VadMode, VadOptions};

/// Whisper's text context: no window has room for so many new tokens.
pub const MOST_TOKENS: usize = 448;

/// The fields of a form.
pub struct Fields<'a>(pub &'a Form);

impl Fields<'_> {
    pub fn text(&self, name: &str) -> Option<String> {
        let text = self.0.field(name)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub fn parsed<T: FromStr>(&self, name: &'static str, what: &str) -> ApiResult<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let message = || format!("Input should be a valid {what}");
        let value = text.trim().parse();
        value
            .map(Some)
            .map_err(|_| ApiError::shape(name, &message()))
    }

    pub fn number(
        &self,
        name: &'static str,
        default: f64,
        bounds: RangeInclusive<f64>,
    ) -> ApiResult<f64> {
        Ok(self.maybe_number(name, bounds)?.unwrap_or(default))
    }

    pub fn maybe_number(
        &self,
        name: &'static str,
        bounds: RangeInclusive<f64>,
    ) -> ApiResult<Option<f64>> {
        let inside = |value| bounds.contains(&value);
        let check = |value| within(name, value, inside(value), bounds.start(), bounds.end());
        self.parsed(name, "number")?.map(check).transpose()
    }

    pub fn sampling(&self) -> ApiResult<Sampling> {
        let none = Sampling::default();
        let (least, penalty) = (f64::MIN_POSITIVE, -2.0..=2.0);
        let repetition = none.repetition_penalty;
        Ok(Sampling {
            top_k: self.top_k()?,
            top_p: self.number("top_p", none.top_p, least..=1.0)?,
            min_p: self.number("min_p", none.min_p, 0.0..=1.0)?,
            repetition_penalty: self.number("repetition_penalty", repetition, least..=f64::MAX)?,
            frequency_penalty: self.number("frequency_penalty", 0.0, penalty.clone())?,
            presence_penalty: self.number("presence_penalty", 0.0, penalty)?,
        })
    }

    pub fn top_k(&self) -> ApiResult<i64> {
        let top_k = self.parsed("top_k", "integer")?.unwrap_or(0);
        within("top_k", top_k, top_k >= -1, &-1, &i64::MAX)
    }

    pub fn flag(&self, name: &'static str) -> ApiResult<bool> {
        const WORDS: [(&str, bool); 10] = [
            ("true", true),
            ("1", true),
            ("yes", true),
            ("on", true),
            ("t", true),
            ("false", false),
            ("0", false),
            ("no", false),
            ("off", false),
            ("f", false),
        ];
        let Some(text) = self.text(name) else {
            return Ok(false);
        };
        let known = WORDS
            .iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word));
        let message = "Input should be a valid boolean";
        known
            .map(|(_, value)| *value)
            .ok_or_else(|| ApiError::shape(name, message))
    }

    /// Terms to expect.
    pub fn phrases(&self) -> ApiResult<Vec<Phrase>> {
        let sent = self.text("phrases").map(|text| parse_sent(&text));
        let phrases = sent.unwrap_or_else(|| Ok(Vec::new()));
        phrases.map_err(|reason| ApiError::value("phrases", &reason))
    }

    /// How speech is looked for, where it is, by the command line's names.
    pub fn vad(&self) -> ApiResult<Option<VadOptions>> {
        const JSON: &str = "vad_parameters";
        let parameters = self.text(JSON).map_or_else(
            || Ok(VadOptions::default()),
            |text| VadOptions::from_json(&text).map_err(|reason| ApiError::value(JSON, &reason)),
        )?;
        let rules = self.vad_rules(parameters)?;
        rules
            .validate()
            .map_err(|error| ApiError::from_error(&error))?;
        match self.flag("vad_filter")? {
            true => Ok(Some(rules)),
            false if rules == VadOptions::default() => Ok(None),
            false => {
                let message = "must be true where rules for it are given";
                Err(ApiError::value("vad_filter", message))
            }
        }
    }

    fn vad_rules(&self, mut rules: VadOptions) -> ApiResult<VadOptions> {
        let probability = |name| self.maybe_number(name, 0.0..=1.0);
        let milliseconds = |name| self.parsed::<u32>(name, "number of milliseconds");
        let or = |given: Option<u32>, default| given.unwrap_or(default);
        rules.threshold = probability("vad_threshold")?.unwrap_or(rules.threshold);
        rules.neg_threshold = probability("vad_neg_threshold")?.or(rules.neg_threshold);
        let speech = milliseconds("vad_min_speech_duration_ms")?;
        rules.min_speech_duration_ms = or(speech, rules.min_speech_duration_ms);
        let silence = milliseconds("vad_min_silence_duration_ms")?;
        rules.min_silence_duration_ms = or(silence, rules.min_silence_duration_ms);
        rules.speech_pad_ms = or(milliseconds("vad_speech_pad_ms")?, rules.speech_pad_ms);
        if let Some(longest) = self.parsed::<f64>("vad_max_speech_duration_s", "number")? {
            rules.max_speech_duration_s = Some(longest).filter(|s| *s != f64::INFINITY);
        }
        rules.mode = match self.text("vad_mode").as_deref() {
            None => rules.mode,
            Some("cut") => VadMode::Cut,
            Some("mute") => VadMode::Mute,
            Some(_) => {
                return Err(ApiError::shape(
                    "vad_mode",
                    "Input should be 'cut' or 'mute'",
                ));
            }
        };
        Ok(rules)
    }

    /// Whether words are asked for.
    pub fn granularities(&self) -> ApiResult<bool> {
        const NAME: &str = "timestamp_granularities";
        let asked = self.0.list(NAME);
        match asked
            .iter()
            .find(|unit| !matches!(**unit, "word" | "segment"))
        {
            Some(_) => Err(ApiError::shape(NAME, "Input should be 'word' or 'segment'")),
            None => Ok(asked.contains(&"word")),
        }
    }

    pub fn max_tokens(&self) -> ApiResult<Option<usize>> {
        const NAME: &str = "max_completion_tokens";
        match self.parsed::<i64>(NAME, "integer")? {
            Some(n) if n < 1 => Err(ApiError::value(NAME, &format!("{n} is less than 1"))),
            n => Ok(n.map(|n| usize::try_from(n).unwrap_or(MOST_TOKENS).min(MOST_TOKENS))),
        }
    }

    pub fn beams(&self) -> ApiResult<Option<usize>> {
        let beams = self.parsed::<i64>("n", "integer")?.unwrap_or(1);
        let within = within(
            "n",
            beams,
            (1..=MAX_ROWS as i64).contains(&beams),
            &1,
            &MAX_ROWS,
        );
        let beams = within?.unsigned_abs() as usize;
        Ok(self.flag("use_beam_search")?.then_some(beams))
    }

    /// `vllm_xargs` is a map in JSON; nothing in it means anything here.
    pub fn extra_arguments(&self) -> ApiResult<()> {
        const NAME: &str = "vllm_xargs";
        match self
            .text(NAME)
            .map(|text| serde_json::from_str::<Value>(&text))
        {
            None | Some(Ok(Value::Object(_))) => Ok(()),
            _ => Err(ApiError::value(NAME, "Input should be a map in JSON")),
        }
    }
}

fn within<T: Display>(
    name: &'static str,
    value: T,
    is_inside: bool,
    least: &impl Display,
    most: &impl Display,
) -> ApiResult<T> {
    match is_inside {
        true => Ok(value),
        false => {
            let message = format!("{value} is not between {least} and {most}");
            Err(ApiError::value(name, &message))
        }
    }
}
