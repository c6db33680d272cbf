//! What comes out: segments with times, and the whole transcript.

use crate::error::Result;

/// One stretch of text with its times, under openai/whisper's field names.
#[derive(Clone, Debug, PartialEq)]
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
    pub words: Option<Vec<Word>>,
}

/// One word with its times.
#[derive(Clone, Debug, PartialEq)]
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

/// A whole file's result.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Transcript {
    /// All text, in order.
    pub text: String,
    /// The segments, in order.
    pub segments: Vec<Segment>,
    /// Language code, for example `de`.
    pub language: String,
}

/// Receives segments as their windows close.
pub trait SegmentSink {
    /// Called once per segment, in order. An error stops the transcription.
    ///
    /// # Errors
    /// Whatever the receiver cannot go on after; it is handed to the caller unchanged.
    fn segment(&mut self, segment: &Segment) -> Result<()>;
}

impl<F: FnMut(&Segment) -> Result<()>> SegmentSink for F {
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        self(segment)
    }
}
