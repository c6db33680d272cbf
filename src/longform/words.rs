//! What words change in the long form: segments get them, the next window starts behind the last one, and
//! silence around text that was probably invented is skipped (openai/whisper's
//! `hallucination_silence_threshold`).

use crate::decoding::{DecodingResult, WordTiming};
use crate::dims::{FRAMES_PER_SECOND, N_FRAMES};
use crate::longform::recording::Recording;
use crate::longform::segments::{WindowSegments, WindowSpan};
use crate::timing::{Punctuation, add_word_times, find_words};
use crate::tokenizer::Tokenizer;
use crate::transcript::{Segment, Word};

/// Words of a segment that are looked at.
const WORDS_LOOKED_AT: usize = 8;
/// Marks that are no words here.
const PUNCTUATION: &str = "\"'“¿([{-\"'.。,，!！?？:：”)]}、";
/// From this score on a segment is an anomaly.
const ANOMALY: f64 = 3.0;
/// This near to a window's edge counts as beside silence, in seconds.
const EDGE_S: f64 = 2.0;

/// Gives a window's segments their words.
pub(super) fn add_words(
    recording: &Recording<'_>,
    result: &DecodingResult,
    segments: &mut [Segment],
    last_speech_s: f64,
) {
    let Recording {
        tokenizer, asked, ..
    } = recording;
    let words = words_of(tokenizer, result).unwrap_or_default();
    let punctuation = Punctuation {
        prepended: &asked.prepend_punctuations,
        appended: &asked.append_punctuations,
    };
    add_word_times(segments, words, tokenizer.eot(), punctuation, last_speech_s);
}

/// A window's words, if their times were asked for and there is text.
pub fn words_of(tokenizer: &Tokenizer, result: &DecodingResult) -> Option<Vec<WordTiming>> {
    let found = |alignment| find_words(tokenizer, &result.language, alignment);
    let words = result.words.clone();
    words.or_else(|| result.alignment.as_deref().map(found))
}

/// Words end with their segment, whose times were cut.
pub(super) fn keep_words_inside(segment: &mut Segment) {
    let (start, end) = (segment.start, segment.end);
    for word in segment.words.iter_mut().flatten() {
        word.start = word.start.clamp(start, end);
        word.end = word.end.clamp(word.start, end);
    }
}

/// A recording's words on their way through the windows.
pub(super) struct TimedWords {
    content_frames: usize,
    /// Where the last word so far ends, in seconds.
    last_speech_s: f64,
}

impl TimedWords {
    pub fn new(content_frames: usize) -> Self {
        Self {
            content_frames,
            last_speech_s: 0.0,
        }
    }

    /// Gives the window's segments their words, which draw their times and may move the next window. False
    /// where nothing of the window counts and it is taken anew from there.
    pub fn add(
        &mut self,
        recording: &Recording<'_>,
        span: WindowSpan,
        result: &DecodingResult,
        cut: &mut WindowSegments,
    ) -> bool {
        add_words(recording, result, &mut cut.segments, self.last_speech_s);
        let window = SpokenWindow {
            span,
            content_frames: self.content_frames,
            single_timestamp_ending: cut.single_timestamp_ending,
            last_speech_s: self.last_speech_s,
        };
        let threshold_s = recording.asked.hallucination_silence_threshold;
        let moved = move_by_words(window, &cut.segments, threshold_s);
        // However short a gap is: a window that does not move on would never end.
        let next = moved.next_seek_frames.unwrap_or(cut.next_seek_frames);
        cut.next_seek_frames = next.max(span.seek_frames + 1);
        let Some(kept) = moved.segments else {
            return false;
        };
        cut.segments.truncate(kept);
        if let Some(end) = last_word_end(&cut.segments) {
            self.last_speech_s = end;
        }
        true
    }
}

/// A window with its words, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpokenWindow {
    pub span: WindowSpan,
    /// Mel frames of the whole recording.
    pub content_frames: usize,
    /// Whether it ends with a timestamp behind text.
    pub single_timestamp_ending: bool,
    /// Where speech before it ended, in seconds.
    pub last_speech_s: f64,
}

/// What a window's words say about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// Mel frame at which the next window starts, where the words decide.
    pub next_seek_frames: Option<usize>,
    /// How many of the window's segments stay; none where the window is taken anew.
    pub segments: Option<usize>,
}

/// The next window starts behind the last word; with a threshold, silence around text that was probably
/// invented is skipped, and the text with it.
pub(super) fn move_by_words(
    window: SpokenWindow,
    segments: &[Segment],
    threshold_s: Option<f64>,
) -> Moved {
    let mut moved = Moved {
        next_seek_frames: None,
        segments: Some(segments.len()),
    };
    let last = last_word_end(segments).filter(|end| *end > window.offset_s());
    if let Some(end) = last.filter(|_| !window.single_timestamp_ending) {
        let silent_end = threshold_s.is_some_and(|threshold| window.end_s() - end <= threshold);
        moved.next_seek_frames = Some(if silent_end {
            window.span.seek_frames + window.span.segment_frames
        } else {
            frames(end)
        });
    }
    threshold_s
        .and_then(|threshold| skip_invented(window, segments, threshold))
        .unwrap_or(moved)
}

fn skip_invented(window: SpokenWindow, segments: &[Segment], threshold_s: f64) -> Option<Moved> {
    // The first segment may be invented: leading silence is skipped and the rest heard again.
    let first = next_with_words(segments).filter(|first| is_anomaly(Some(first)));
    let gap = first.map_or(0.0, |first| first.start - window.offset_s());
    if gap > threshold_s {
        return Some(Moved {
            next_seek_frames: Some(window.span.seek_frames + frames(gap)),
            segments: None,
        });
    }
    let mut last_end_s = window.last_speech_s;
    for (i, segment) in segments.iter().enumerate() {
        if words(segment).is_empty() {
            continue;
        }
        let next = next_with_words(&segments[i + 1..]);
        if is_anomaly(Some(segment)) && window.is_in_silence(segment, last_end_s, next, threshold_s)
        {
            let rest_s = seconds(window.content_frames) - segment.end;
            let next = if rest_s < threshold_s {
                window.content_frames
            } else {
                frames(segment.start.max(window.offset_s() + 1.0))
            };
            return Some(Moved {
                next_seek_frames: Some(next),
                segments: Some(i),
            });
        }
        last_end_s = segment.end;
    }
    None
}

impl SpokenWindow {
    fn offset_s(&self) -> f64 {
        seconds(self.span.seek_frames)
    }

    fn end_s(&self) -> f64 {
        seconds(self.span.seek_frames + N_FRAMES)
    }

    /// Whether there is silence, an edge or more invented text on both sides of a segment.
    fn is_in_silence(
        &self,
        segment: &Segment,
        last_end_s: f64,
        next: Option<&Segment>,
        threshold_s: f64,
    ) -> bool {
        let content_end_s = self.offset_s() + seconds(self.span.segment_frames);
        let next_start_s = next.map_or(content_end_s, |next| words(next)[0].start);
        let before = segment.start - last_end_s > threshold_s
            || segment.start < threshold_s
            || segment.start - self.offset_s() < EDGE_S;
        let after = next_start_s - segment.end > threshold_s
            || is_anomaly(next)
            || self.end_s() - segment.end < EDGE_S;
        before && after
    }
}

/// Where the last word of a window ends; the last segment's end where that has no words.
pub(super) fn last_word_end(segments: &[Segment]) -> Option<f64> {
    let last = segments
        .iter()
        .rev()
        .flat_map(|segment| words(segment).iter().rev());
    last.map(|word| word.end)
        .next()
        .or(segments.last().map(|segment| segment.end))
}

fn words(segment: &Segment) -> &[Word] {
    segment.words.as_deref().unwrap_or(&[])
}

fn next_with_words(segments: &[Segment]) -> Option<&Segment> {
    segments.iter().find(|segment| !words(segment).is_empty())
}

fn is_anomaly(segment: Option<&Segment>) -> bool {
    let Some(segment) = segment else {
        return false;
    };
    let spoken = words(segment)
        .iter()
        .filter(|word| !PUNCTUATION.contains(word.word.as_str()));
    let looked_at: Vec<&Word> = spoken.take(WORDS_LOOKED_AT).collect();
    let score: f64 = looked_at.iter().map(|word| anomaly_score(word)).sum();
    !words(segment).is_empty() && (score >= ANOMALY || score + 0.01 >= looked_at.len() as f64)
}

/// Improbable, very short and very long words score.
fn anomaly_score(word: &Word) -> f64 {
    let duration = word.end - word.start;
    let mut score = 0.0;
    if word.probability < 0.15 {
        score += 1.0;
    }
    if duration < 0.133 {
        score += (0.133 - duration) * 15.0;
    }
    if duration > 2.0 {
        score += duration - 2.0;
    }
    score
}

fn seconds(frames: usize) -> f64 {
    frames as f64 / FRAMES_PER_SECOND as f64
}

/// Python's `round`, to the even of two equally near.
fn frames(seconds: f64) -> usize {
    (seconds * FRAMES_PER_SECOND as f64).round_ties_even() as usize
}
