//! What of a recording is transcribed: all of it, or its speech alone.

use std::ops::Range;
use std::sync::Arc;

use crate::dims::SAMPLE_RATE;
use crate::error::Result;
use crate::longform::{Clock, Content, Pauses, Speech, samples_of, seconds_of, seek_clips};
use crate::mel::LogMel;
use crate::options::TranscribeOptions;
use crate::transcript::{
    Dropped, LanguageProbabilities, Segment, SegmentSink, SpeechSpan, Transcript, WindowTrace,
};
use crate::vad::{Heard, VadMode, VadOptions, speech_spans};

/// Where somebody speaks, as exactly as it is known.
const VOICED: VadOptions = VadOptions {
    threshold: 0.5,
    neg_threshold: None,
    min_speech_duration_ms: 60,
    max_speech_duration_s: None,
    min_silence_duration_ms: 100,
    speech_pad_ms: 0,
    mode: VadMode::Mute,
};

/// What is said between two breaths, or two speakers: a language is told of one or several such pieces.
const PIECES: VadOptions = VadOptions {
    min_silence_duration_ms: 300,
    max_speech_duration_s: Some(15.0),
    speech_pad_ms: 100,
    ..VOICED
};

/// What is transcribed.
pub(super) struct Ground {
    pub mel: Arc<LogMel>,
    pub content: Content,
    /// Where only a part is left of the recording: the way back to its own times.
    pub clock: Option<Clock>,
    /// Where there is speech, if that is known.
    pub speech: Option<Vec<SpeechSpan>>,
    /// Pieces of speech whose languages are told apart, on the content's clock.
    pub pieces: Option<Speech>,
}

impl Ground {
    /// As the options say. Where silence is cut out, clips are too: none are left in the options then.
    pub fn new(
        mel: LogMel,
        samples: usize,
        heard: Option<&Heard>,
        options: &mut TranscribeOptions,
    ) -> Result<Self> {
        let frames = mel.content_frames();
        let asked = options.vad.unwrap_or_default();
        let mut pieces = heard
            .filter(|_| options.multilingual)
            .map(|heard| Speech::of_samples(&speech_spans(heard, &PIECES), frames));
        let looked_for = heard.filter(|_| options.vad.is_some());
        let Some(spans) = spans(samples, looked_for, &asked, options.speech.as_deref()) else {
            return Ok(Self {
                content: frames.into(),
                mel: Arc::new(mel),
                clock: None,
                speech: None,
                pieces,
            });
        };
        let spans = match heard {
            Some(_) if options.guard && options.speech.is_none() => {
                to_edges(spans, samples, &asked)
            }
            _ => spans,
        };
        let speech = Speech::of_samples(&spans, frames);
        if options.multilingual {
            pieces.get_or_insert_with(|| speech.clone());
        }
        let known = Some(seconds_of(&spans));
        let voiced = match (heard, &options.speech) {
            (Some(heard), None) => Speech::of_samples(&speech_spans(heard, &VOICED), frames),
            _ => speech.clone(),
        };
        if asked.mode == VadMode::Mute {
            let mel = mel.mute_but(speech.spans())?;
            let content = Content {
                speech: Some(speech),
                ..with_voiced(voiced, frames, &[], options.guard)
            };
            return Ok(Self {
                mel: Arc::new(mel),
                content,
                clock: None,
                speech: known,
                pieces,
            });
        }
        let clips = seek_clips(&std::mem::take(&mut options.clip_timestamps), frames);
        let kept: Vec<_> = clips
            .into_iter()
            .flat_map(|clip| speech.within(clip).collect::<Vec<_>>())
            .collect();
        let mel = mel.keep(&kept)?;
        Ok(Self {
            content: with_voiced(
                voiced.through(&kept),
                mel.content_frames(),
                &joints(&kept),
                options.guard,
            ),
            mel: Arc::new(mel),
            pieces: pieces.map(|pieces| pieces.through(&kept)),
            clock: Some(Clock::new(kept)),
            speech: known,
        })
    }

    /// The way to the times of a recording of which this is the part from a frame on.
    pub fn clock_from(&self, at_frames: usize) -> Clock {
        let whole = || Clock::new(std::iter::once(0..self.content.frames).collect());
        self.clock.clone().unwrap_or_else(whole).later(at_frames)
    }
}

/// Content in which it is known where somebody speaks.
fn with_voiced(voiced: Speech, frames: usize, joints: &[usize], guarded: bool) -> Content {
    Content {
        pauses: Some(Pauses::between(&voiced, frames, joints)),
        voiced: Some(voiced),
        guarded,
        ..frames.into()
    }
}

/// Where stretches that are joined touch.
fn joints(kept: &[Range<usize>]) -> Vec<usize> {
    let ends = kept.iter().scan(0, |end, stretch| {
        *end += stretch.len();
        Some(*end)
    });
    ends.take(kept.len().saturating_sub(1)).collect()
}

/// The spans of speech in samples: those that are given, or those that were heard; none is known where neither is
/// asked for.
fn spans(
    samples: usize,
    heard: Option<&Heard>,
    asked: &VadOptions,
    given: Option<&[SpeechSpan]>,
) -> Option<Vec<Range<usize>>> {
    match (given, heard) {
        (Some(given), _) => Some(samples_of(given, samples)),
        (None, Some(heard)) => Some(speech_spans(heard, asked)),
        (None, None) => None,
    }
}

/// A pause at the recording's start or end that would be too short inside it belongs to the speech beside it: where there
/// is next to nothing to leave out, all stays as it is.
fn to_edges(mut spans: Vec<Range<usize>>, samples: usize, asked: &VadOptions) -> Vec<Range<usize>> {
    let short = asked.min_silence_duration_ms as usize * SAMPLE_RATE / 1000;
    if let Some(first) = spans.first_mut().filter(|first| first.start < short) {
        first.start = 0;
    }
    if let Some(last) = spans.last_mut().filter(|last| samples - last.end < short) {
        last.end = samples;
    }
    spans
}

/// Hands on what comes on the clock of what is left of a recording, on the recording's own.
pub(super) struct OnClock<'a> {
    pub clock: &'a Clock,
    pub sink: &'a mut dyn SegmentSink,
}

impl OnClock<'_> {
    /// A whole transcript's times.
    pub fn all(&self, mut transcript: Transcript) -> Transcript {
        for segment in &mut transcript.segments {
            self.put(segment);
        }
        for dropped in &mut transcript.dropped {
            (dropped.start, dropped.end) = self.clock.span(dropped.start, dropped.end);
        }
        for window in &mut transcript.windows {
            self.put_window(window);
        }
        transcript
    }

    fn put(&self, segment: &mut Segment) {
        segment.seek = self.clock.frame(segment.seek, false);
        (segment.start, segment.end) = self.clock.span(segment.start, segment.end);
        let words = segment.words.as_deref_mut().unwrap_or_default();
        for word in words.iter_mut() {
            (word.start, word.end) = self.clock.word(word.start, word.end);
        }
        if let [first, ..] = words {
            segment.start = first.start;
        }
        if let [.., last] = words {
            segment.end = last.end.max(segment.start);
        }
    }

    fn put_window(&self, window: &mut WindowTrace) {
        let end = self.clock.frame(window.seek + window.frames, true);
        window.seek = self.clock.frame(window.seek, false);
        window.frames = end.saturating_sub(window.seek);
    }
}

impl SegmentSink for OnClock<'_> {
    fn segment(&mut self, segment: &Segment) -> Result<()> {
        let mut segment = segment.clone();
        self.put(&mut segment);
        self.sink.segment(&segment)
    }

    fn heard(&mut self, duration_s: f64, speech: Option<&[SpeechSpan]>) -> Result<()> {
        self.sink.heard(duration_s, speech)
    }

    fn language(&mut self, found: &LanguageProbabilities) -> Result<()> {
        self.sink.language(found)
    }

    fn dropped(&mut self, dropped: &Dropped) -> Result<()> {
        let mut dropped = dropped.clone();
        (dropped.start, dropped.end) = self.clock.span(dropped.start, dropped.end);
        self.sink.dropped(&dropped)
    }

    fn window(&mut self, trace: &WindowTrace) -> Result<()> {
        let mut trace = trace.clone();
        self.put_window(&mut trace);
        self.sink.window(&trace)
    }
}
