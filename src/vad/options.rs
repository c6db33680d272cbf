//! What is asked of the detector, under faster-whisper's names and with its defaults.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What becomes of a recording where there is no speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VadMode {
    /// It is left out: what is spoken is joined and transcribed as one, as faster-whisper does. The fewest
    /// windows; a window may hold speech from both sides of a pause.
    #[default]
    Cut,
    /// It is silent, and no window begins in it: pauses stay as long as they are.
    Mute,
}

/// How speech is told from what is none: faster-whisper's `VadOptions`.
///
/// Whatever is done about silence, times in results are those of the recording itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VadOptions {
    /// From this probability on a chunk of 32 ms is speech.
    pub threshold: f64,
    /// Below this probability speech ends; `None` is `threshold` less 0.15, at least 0.01.
    pub neg_threshold: Option<f64>,
    /// Spans that are no longer than this are dropped.
    pub min_speech_duration_ms: u32,
    /// A longer span is cut: at its last pause of 98 ms, if it has one. `None` sets no limit.
    pub max_speech_duration_s: Option<f64>,
    /// A shorter pause belongs to the speech around it.
    pub min_silence_duration_ms: u32,
    /// How much is added to a span at both ends.
    pub speech_pad_ms: u32,
    /// What becomes of the rest.
    pub mode: VadMode,
}

impl Default for VadOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            neg_threshold: None,
            min_speech_duration_ms: 0,
            max_speech_duration_s: None,
            min_silence_duration_ms: 2000,
            speech_pad_ms: 400,
            mode: VadMode::Cut,
        }
    }
}

impl VadOptions {
    /// Reads them from a JSON object, as faster-whisper's `vad_parameters` are; what is absent keeps its default,
    /// and no longest speech is `null`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn from_json(text: &str) -> std::result::Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Err("a JSON object is expected, for example {\"threshold\": 0.6}".into());
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// # Errors
    /// [`Error::Option`] naming the first option whose value makes no sense.
    pub(crate) fn validate(&self) -> Result<()> {
        let probability = |p: f64| (0.0..=1.0).contains(&p);
        let longest = self.max_speech_duration_s;
        let rules = [
            (
                "vad_threshold",
                probability(self.threshold),
                "must be between 0 and 1",
            ),
            (
                "vad_neg_threshold",
                self.neg_threshold.is_none_or(probability),
                "must be between 0 and 1",
            ),
            (
                "vad_max_speech_duration_s",
                longest.is_none_or(|s| s > 0.0),
                "must be above 0",
            ),
        ];
        match rules.iter().find(|(_, holds, _)| !holds) {
            Some((option, _, reason)) => Err(Error::Option {
                option,
                reason: (*reason).into(),
            }),
            None => Ok(()),
        }
    }

    /// The probability below which speech ends.
    pub(super) fn silence_below(&self) -> f64 {
        self.neg_threshold
            .unwrap_or((self.threshold - 0.15).max(0.01))
    }
}
