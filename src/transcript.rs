//! What comes out: segments with times, and the whole transcript.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// One stretch of text with its times, under openai/whisper's field names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// Position in the transcript, from 0.
    pub id: usize,
    /// Mel frame at which the segment's window started.
    pub seek: usize,
    /// Seconds from the start of the audio. May lie past the audio's end, as in openai/whisper.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// The text, with its leading space.
    pub text: String,
    /// Token ids, timestamps included.
    pub tokens: Vec<u32>,
    /// Temperature at which the window was accepted.
    pub temperature: f64,
    /// Mean log-probability of the window's tokens, end of text included.
    pub avg_logprob: f64,
    /// UTF-8 bytes over zlib bytes of the window's text.
    pub compression_ratio: f64,
    /// Probability of `<|nospeech|>` where the decoding starts.
    pub no_speech_prob: f64,
    /// Words with times, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
    /// Code of its language, where each segment's was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How probable that language is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_probability: Option<f64>,
    /// Who speaks, where channels are speakers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
}

/// One word with its times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Word {
    /// The word with its leading space and its punctuation.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// Mean probability of its tokens.
    pub probability: f64,
}

/// A stretch of speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpeechSpan {
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
}

/// A whole file's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transcript {
    /// All text, in order.
    pub text: String,
    /// The segments, in order.
    pub segments: Vec<Segment>,
    /// Language code, for example `de`.
    pub language: String,
    /// How each window was decoded, in order. No output format holds this.
    #[serde(default)]
    pub windows: Vec<WindowTrace>,
    /// Seconds of audio that were heard. No output format holds this.
    #[serde(default)]
    pub duration_s: f64,
    /// What was wrong with the recording without stopping the work: damaged packets that were
    /// skipped, an end that is missing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where there is speech, in order, where that was looked for or given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech: Option<Vec<SpeechSpan>>,
    /// What the guard dropped, in order; and behind it speech without text, where speech was looked for or given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}

/// Text that was dropped, or speech without text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped {
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio.
    pub end: f64,
    /// The text; empty for speech without any.
    pub text: String,
    /// Why.
    pub reason: DropReason,
    /// Whose channel it was in, where channels are speakers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
}

/// Why a text was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// Nobody speaks there.
    NoSpeech,
    /// It is a phrase that Whisper is known to invent, and hardly anybody speaks there.
    Phantom,
    /// It repeats what stands before it.
    Loop,
    /// None was dropped: there is speech, and the model wrote no text for it that stands.
    Uncovered,
    /// There is speech, and its window counts as silent.
    UncoveredSilent,
    /// There is speech, and its window's text repeated itself.
    UncoveredLoop,
}

impl DropReason {
    /// Its name in JSON: `no_speech`, `phantom`, `loop`, `uncovered`, `uncovered_silent`,
    /// `uncovered_loop`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSpeech => "no_speech",
            Self::Phantom => "phantom",
            Self::Loop => "loop",
            Self::Uncovered => "uncovered",
            Self::UncoveredSilent => "uncovered_silent",
            Self::UncoveredLoop => "uncovered_loop",
        }
    }
}

/// A probability for every language the model knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageProbabilities {
    /// Code of the likeliest language; the first of them where several are equally likely.
    pub best: String,
    /// Code and probability of each language, in the order of the vocabulary.
    pub all: Vec<(String, f64)>,
}

impl LanguageProbabilities {
    /// A language's probability; 0 for one that the model does not know.
    #[must_use]
    pub fn probability(&self, code: &str) -> f64 {
        self.all
            .iter()
            .find(|(known, _)| known == code)
            .map_or(0.0, |(_, p)| *p)
    }
}

/// How one window was decoded. Two that differ in time alone are equal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowTrace {
    /// Mel frame at which the window starts.
    pub seek: usize,
    /// Mel frames of content in it; the rest of its 30 s is padding.
    pub frames: usize,
    /// Every temperature that was tried, in order; the last one stands.
    pub attempts: Vec<Attempt>,
    /// Whether it counts as silent, so that its text was dropped.
    pub silent: bool,
    /// Seconds from handing the window over to its result; among windows decoded side by side, that
    /// is not its own work alone.
    pub elapsed_s: f64,
}

impl PartialEq for WindowTrace {
    fn eq(&self, other: &Self) -> bool {
        let key = |w: &Self| (w.seek, w.frames, w.silent);
        key(self) == key(other) && self.attempts == other.attempts
    }
}

/// What one temperature gave, as the quality gates see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The temperature.
    pub temperature: f64,
    /// Tokens that were sampled.
    pub tokens: usize,
    /// Mean log-probability of the tokens and the end of text.
    pub avg_logprob: f64,
    /// UTF-8 bytes over zlib bytes of the text.
    pub compression_ratio: f64,
    /// Probability of `<|nospeech|>` where the decoding starts.
    pub no_speech_prob: f64,
    /// What a draft was worth, where one took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafted: Option<Drafted>,
}

/// What speculative decoding did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drafted {
    /// Steps of the model that looked at tokens of the draft.
    pub steps: usize,
    /// Tokens that the draft has written ahead.
    pub proposed: usize,
    /// Those that the model said itself: each has saved a step.
    pub accepted: usize,
}

/// Receives segments as their windows close.
pub trait SegmentSink {
    /// Called once per segment, in order. An error stops the transcription.
    ///
    /// # Errors
    /// Whatever the receiver cannot go on after; it is handed to the caller unchanged.
    fn segment(&mut self, segment: &Segment) -> Result<()>;

    /// Called once, when the recording has been read: its seconds, and where there is speech, if that was
    /// looked for or given. That is before all segments, but for [`guard`](crate::TranscribeOptions::guard), which
    /// writes while it reads.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    fn heard(&mut self, duration_s: f64, speech: Option<&[SpeechSpan]>) -> Result<()> {
        let _ = (duration_s, speech);
        Ok(())
    }

    /// Called once, before all windows, where the language was detected: how probable the model finds
    /// each.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    fn language(&mut self, found: &LanguageProbabilities) -> Result<()> {
        let _ = found;
        Ok(())
    }

    /// Called for what is dropped from a window, after its segments; and behind the last window, of a part of the
    /// recording if it is heard in parts, for speech without text.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    fn dropped(&mut self, dropped: &Dropped) -> Result<()> {
        let _ = dropped;
        Ok(())
    }

    /// Called once per window, in order, before its segments.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    fn window(&mut self, trace: &WindowTrace) -> Result<()> {
        let _ = trace;
        Ok(())
    }
}

impl<F: FnMut(&Segment) -> Result<()>> SegmentSink for F {
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        self(segment)
    }
}
