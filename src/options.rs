//! What a request asks for. Names and defaults are openai/whisper's.

mod heads;
mod phrases;
mod sampling;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::audio::{AudioOptions, Gaps, TrackChoice};
use crate::error::{Error, Result};
use crate::transcript::SpeechSpan;
use crate::vad::VadOptions;

pub use heads::AlignmentHeads;
pub(crate) use heads::upper_half;
#[cfg(feature = "server")]
pub(crate) use phrases::parse_sent;
pub use phrases::{Phrase, read_phrases};
pub use sampling::Sampling;

/// What to do with the speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Write it down in its own language.
    #[default]
    Transcribe,
    /// Write it down in English.
    Translate,
}

impl Task {
    /// The name in openai/whisper's options and special tokens: `transcribe`, `translate`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::Transcribe => "transcribe",
            Task::Translate => "translate",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let tasks = [Self::Transcribe, Self::Translate];
        let named = tasks.into_iter().find(|task| task.name() == name);
        named.ok_or_else(|| Error::Option {
            option: "task",
            reason: format!("{name} is neither transcribe nor translate"),
        })
    }
}

/// Which tokens are never sampled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressTokens {
    /// openai's `"-1"`: the tokenizer's non-speech tokens, and then these too.
    NonSpeechAnd(Vec<u32>),
    /// Only these, and the special tokens. An empty list suppresses nothing, as in openai/whisper.
    Only(Vec<u32>),
}

impl Default for SuppressTokens {
    fn default() -> Self {
        Self::NonSpeechAnd(Vec::new())
    }
}

/// openai's `DecodingOptions`: how one window is decoded at one temperature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecodingOptions {
    /// Transcribe or translate.
    pub task: Task,
    /// Language code, for example `de`; `None` asks the model.
    pub language: Option<String>,
    /// 0 takes the best token (or beam), above 0 samples.
    pub temperature: f64,
    /// Most tokens to sample; `None` is half the text context.
    pub sample_len: Option<usize>,
    /// Most text tokens to sample: a row that has them ends. Timestamps that the rules ask for do not count.
    pub max_new_tokens: Option<usize>,
    /// Independent samples to draw where the temperature is above 0.
    pub best_of: Option<usize>,
    /// Beams where the temperature is 0; `None` is greedy.
    pub beam_size: Option<usize>,
    /// Beam search ends after `patience × beam_size` finished candidates (arXiv 2204.05424).
    pub patience: Option<f64>,
    /// Google's length penalty α (0 to 1); `None` divides by the length.
    pub length_penalty: Option<f64>,
    /// vLLM's length penalty instead: candidates are ranked by their summed log-probability over
    /// `(prompt + sampled tokens)^length_exponent`, the start sequence counted in.
    pub length_exponent: Option<f64>,
    /// Text of earlier windows, as tokens, for the decoder to continue.
    pub prompt: Vec<u32>,
    /// Words to expect, as tokens: before the earlier text, as faster-whisper has them. At most half of the text
    /// context less one are used, and none beside a prefix.
    pub hotwords: Vec<u32>,
    /// Tokens that the window's own text must begin with.
    pub prefix: Vec<u32>,
    /// Tokens that are never sampled.
    pub suppress_tokens: SuppressTokens,
    /// Whether a blank or an immediate end of text is suppressed.
    pub suppress_blank: bool,
    /// Whether to sample text only.
    pub without_timestamps: bool,
    /// Latest first timestamp, in seconds; `None` or 0 sets no limit.
    pub max_initial_timestamp: Option<f64>,
    /// Seed of the sampling of this window. Its draws depend on it, the temperature, the row and the step
    /// alone, whatever else is decoded beside it.
    pub seed: u64,
    /// Penalties, and what draws are narrowed to.
    pub sampling: Sampling,
    /// Ends a window at once whose text repeats itself, four times and 32 tokens at least. It counts as
    /// failed.
    pub stop_loops: bool,
}

impl Default for DecodingOptions {
    fn default() -> Self {
        Self {
            task: Task::Transcribe,
            language: None,
            temperature: 0.0,
            sample_len: None,
            max_new_tokens: None,
            best_of: None,
            beam_size: None,
            patience: None,
            length_penalty: None,
            length_exponent: None,
            prompt: Vec::new(),
            hotwords: Vec::new(),
            prefix: Vec::new(),
            suppress_tokens: SuppressTokens::default(),
            suppress_blank: true,
            without_timestamps: false,
            max_initial_timestamp: Some(1.0),
            seed: 0,
            sampling: Sampling::default(),
            stop_loops: false,
        }
    }
}

/// When a window counts as failed or silent, and what is tried next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Temperatures to try in order; at least one.
    pub temperatures: Vec<f64>,
    /// A higher ratio of text bytes to zlib bytes fails the window (it repeats itself).
    pub compression_ratio_threshold: Option<f64>,
    /// A lower mean log-probability fails the window.
    pub logprob_threshold: Option<f64>,
    /// With a higher no-speech probability and a low log-probability the window is silent.
    pub no_speech_threshold: Option<f64>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            compression_ratio_threshold: Some(2.4),
            logprob_threshold: Some(-1.0),
            no_speech_threshold: Some(0.6),
        }
    }
}

/// What one file asks for: openai's `transcribe()` options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TranscribeOptions {
    /// How each window is decoded; its `temperature`, `prompt`, `hotwords`, `prefix` and `seed` are set per window.
    pub decoding: DecodingOptions,
    /// Temperatures and thresholds.
    pub gates: Gates,
    /// Whether a window is given the text before it.
    pub condition_on_previous_text: bool,
    /// Text to put before the first window, to set style and spelling.
    pub initial_prompt: Option<String>,
    /// Whether the initial prompt is put before every window.
    pub carry_initial_prompt: bool,
    /// Words to expect, put before every window and the text before it: faster-whisper's. No effect beside a prefix.
    pub hotwords: Option<String>,
    /// Terms to expect: they win where the model hesitates, whatever their number.
    pub phrases: Vec<Phrase>,
    /// Text that each window's text must begin with.
    pub prefix: Option<String>,
    /// Start and end seconds of the stretches to process; the last end may be missing.
    pub clip_timestamps: Vec<f64>,
    /// Cut the recording at quiet places and decode this many windows side by side, none knowing
    /// the text before it; `None` goes through it in order, as openai/whisper does.
    pub batch_size: Option<usize>,
    /// Which of a file's audio tracks is heard; by default the marked one, or the first that can be
    /// decoded.
    pub audio_track: Option<TrackChoice>,
    /// What becomes of gaps between a container's packets; ffmpeg, and so openai, closes them.
    pub gaps: Gaps,
    /// Transcribe each of the recording's channels by itself: they are speakers, which segments name.
    pub split_channels: bool,
    /// What those are called, from the first channel on: `Speaker 1` and so on by default.
    pub channel_names: Vec<String>,
    /// The one channel that is heard, from 0 on; all of them, mixed, by default.
    pub channel: Option<usize>,
    /// Whether each word's times are found; they draw segments to their words and move the next window.
    pub word_timestamps: bool,
    /// The attention heads by which words are placed.
    pub alignment_heads: AlignmentHeads,
    /// Marks that are merged with the word behind them.
    pub prepend_punctuations: String,
    /// Marks that are merged with the word before them.
    pub append_punctuations: String,
    /// Skip silence longer than this, in seconds, around text that was probably invented. Needs word times.
    pub hallucination_silence_threshold: Option<f64>,
    /// Look for speech first, and transcribe that alone; `None` transcribes everything, as openai/whisper
    /// does.
    pub vad: Option<VadOptions>,
    /// Where there is speech, in seconds, for those who know. It is not looked for then: of [`vad`](Self::vad)
    /// only the mode counts. Spans past the recording's end are cut there.
    pub speech: Option<Vec<SpeechSpan>>,
    /// Guard against invented and lost text, where speech is looked for or given: text where nobody speaks is
    /// dropped, and windows that were left without text although somebody does are decoded once more.
    pub guard: bool,
    /// The languages that a detected one may be; none allows all.
    pub languages: Vec<String>,
    /// Tell the language of every piece of speech: a recording may change between languages. Each segment
    /// says its own.
    pub multilingual: bool,
    /// Windows of 30 s that the language may be told from, where the first is not sure enough. openai/whisper
    /// looks at the first alone.
    pub language_detection_segments: usize,
    /// How probable a language must be to be taken without a look at the next window, or for another one to
    /// follow it.
    pub language_detection_threshold: f64,
}

/// openai/whisper's default of [`TranscribeOptions::prepend_punctuations`].
pub const PREPEND_PUNCTUATIONS: &str = "\"'“¿([{-";
/// openai/whisper's default of [`TranscribeOptions::append_punctuations`].
pub const APPEND_PUNCTUATIONS: &str = "\"'.。,，!！?？:：”)]}、";

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            decoding: DecodingOptions::default(),
            gates: Gates::default(),
            condition_on_previous_text: true,
            initial_prompt: None,
            carry_initial_prompt: false,
            hotwords: None,
            phrases: Vec::new(),
            prefix: None,
            clip_timestamps: Vec::new(),
            batch_size: None,
            audio_track: None,
            gaps: Gaps::Close,
            split_channels: false,
            channel_names: Vec::new(),
            channel: None,
            word_timestamps: false,
            alignment_heads: AlignmentHeads::default(),
            prepend_punctuations: PREPEND_PUNCTUATIONS.into(),
            append_punctuations: APPEND_PUNCTUATIONS.into(),
            hallucination_silence_threshold: None,
            vad: None,
            speech: None,
            guard: false,
            languages: Vec::new(),
            multilingual: false,
            language_detection_segments: 1,
            language_detection_threshold: 0.5,
        }
    }
}

/// Most temperatures of a ladder: each is one more decoding of a window that fails.
pub const MAX_TEMPERATURES: usize = 100;
/// Most beams, and most samples: each is a row of keys and values in memory.
pub const MAX_ROWS: usize = 100;
/// Most windows of one recording that are decoded side by side.
pub const MAX_BATCH: usize = 1000;

fn bad<T>(option: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(Error::Option {
        option,
        reason: reason.into(),
    })
}

impl Gates {
    fn validate(&self) -> Result<()> {
        let temperatures = &self.temperatures;
        if temperatures.is_empty() {
            return bad("temperature", "at least one temperature is needed");
        }
        if let Some(t) = temperatures.iter().find(|t| !(0.0..=2.0).contains(*t)) {
            return bad("temperature", format!("{t} is not between 0 and 2"));
        }
        if temperatures.len() > MAX_TEMPERATURES {
            let count = temperatures.len();
            let reason = format!("{count} temperatures are more than {MAX_TEMPERATURES}");
            return bad("temperature", reason);
        }
        let ratio = self.compression_ratio_threshold;
        let thresholds = [
            ("compression_ratio_threshold", ratio),
            ("logprob_threshold", self.logprob_threshold),
            ("no_speech_threshold", self.no_speech_threshold),
        ];
        match thresholds.iter().find(|(_, t)| t.is_some_and(f64::is_nan)) {
            Some((option, _)) => bad(option, "is not a number"),
            None => Ok(()),
        }
    }
}

impl DecodingOptions {
    fn validate(&self) -> Result<()> {
        for (option, rows) in [("beam_size", self.beam_size), ("best_of", self.best_of)] {
            if let Some(rows) = rows.filter(|rows| !(1..=MAX_ROWS).contains(rows)) {
                return bad(option, format!("{rows} is not between 1 and {MAX_ROWS}"));
            }
        }
        let most = MAX_ROWS as f64;
        if self.patience.is_some() && self.beam_size.is_none() {
            return bad("patience", "patience requires beam_size to be given");
        }
        if self.patience.is_some_and(|p| !(p > 0.0 && p <= most)) {
            let reason = format!("must be above 0 and at most {MAX_ROWS}");
            return bad("patience", reason);
        }
        if self.max_new_tokens == Some(0) {
            return bad("max_new_tokens", "must be at least 1");
        }
        if self.length_exponent.is_some_and(|p| !p.is_finite()) {
            return bad("length_exponent", "is not a number");
        }
        if self.length_exponent.is_some() && self.length_penalty.is_some() {
            let reason = "length_exponent and length_penalty can't be given together";
            return bad("length_exponent", reason);
        }
        let (penalty, first) = (self.length_penalty, self.max_initial_timestamp);
        if penalty.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return bad("length_penalty", "should be a value between 0 and 1");
        }
        if first.is_some_and(|t| !(0.0..=30.0).contains(&t)) {
            let reason = "must be between 0 and 30 seconds";
            return bad("max_initial_timestamp", reason);
        }
        self.sampling.validate()
    }
}

impl TranscribeOptions {
    /// The robust preset: speech is looked for, loops are ended, and the guard is on. What is dropped is in
    /// [`Transcript::dropped`](crate::Transcript::dropped).
    #[must_use]
    pub fn robust() -> Self {
        let mut options = Self {
            vad: Some(VadOptions::default()),
            guard: true,
            ..Self::default()
        };
        options.decoding.stop_loops = true;
        options
    }

    /// How a recording is heard.
    pub(crate) fn audio(&self) -> AudioOptions {
        AudioOptions {
            track: self.audio_track.clone(),
            language: self.decoding.language.clone(),
            gaps: self.gaps,
            channel: self.channel,
            ..AudioOptions::default()
        }
    }

    /// Checks every value once, so that nothing behind this needs to. What depends on the model is
    /// checked by [`Engine::check`](crate::Engine::check).
    ///
    /// # Errors
    /// [`Error::Option`] naming the first option whose value makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.gates.validate()?;
        self.decoding.validate()?;
        if self.split_channels && self.channel.is_some() {
            return bad("channel", "is one, and split_channels asks for all of them");
        }
        phrases::check(&self.phrases)?;
        let batch = self.batch_size;
        if batch.is_some_and(|n| !(1..=MAX_BATCH).contains(&n)) {
            return bad("batch_size", format!("is not between 1 and {MAX_BATCH}"));
        }
        let makes_sense = |t: &f64| t.is_finite() && *t >= 0.0;
        if !self.clip_timestamps.iter().all(makes_sense) {
            return bad("clip_timestamps", "must be seconds from 0 on");
        }
        let is_back = |clip: &[f64]| clip[1] < clip[0];
        if let Some(clip) = self.clip_timestamps.chunks_exact(2).find(|c| is_back(c)) {
            let (start, end) = (clip[0], clip[1]);
            return bad(
                "clip_timestamps",
                format!("has a clip from {start} to {end} s, which ends before it begins"),
            );
        }
        let threshold = self.hallucination_silence_threshold;
        if threshold.is_some_and(|s| !makes_sense(&s)) {
            return bad(
                "hallucination_silence_threshold",
                "must be seconds from 0 on",
            );
        }
        if let Some(vad) = &self.vad {
            vad.validate()?;
        }
        if self.decoding.language.is_some() && (self.multilingual || !self.languages.is_empty()) {
            let reason =
                "is given, so there is none to tell: leave it or languages and multilingual out";
            return bad("language", reason);
        }
        if !(0.0..=1.0).contains(&self.language_detection_threshold) {
            return bad("language_detection_threshold", "must be between 0 and 1");
        }
        if self.language_detection_segments == 0 {
            return bad("language_detection_segments", "starts at 1");
        }
        if self.guard && self.vad.is_none() && self.speech.is_none() {
            return bad("guard", "needs vad, or speech");
        }
        let holds =
            |s: &SpeechSpan| makes_sense(&s.start) && makes_sense(&s.end) && s.start <= s.end;
        if !self.speech.iter().flatten().all(holds) {
            let reason = "a span must begin at 0 s or later, and end where it begins or later";
            return bad("speech", reason);
        }
        if threshold.is_some() && !self.word_timestamps {
            return bad("hallucination_silence_threshold", "needs word_timestamps");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_end_behind_their_begin() {
        let with = |clips: &[f64]| {
            let options = TranscribeOptions {
                clip_timestamps: clips.to_vec(),
                ..TranscribeOptions::default()
            };
            options.validate().map_err(|error| error.to_string())
        };
        let told = with(&[0.0, 2.0, 3.0, 1.0]).unwrap_err();
        assert!(
            told.contains("clip_timestamps") && told.contains("from 3 to 1 s"),
            "{told}"
        );
        // Clips in any order, ones of no length, and the last up to the recording's end.
        for clips in [
            &[60.0, 70.0, 5.0, 15.0, 15.0, 15.0][..],
            &[3.0],
            &[0.0, 1.0, 0.5],
        ] {
            assert_eq!(with(clips), Ok(()));
        }
    }
}
