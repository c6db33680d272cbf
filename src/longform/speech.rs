//! Where a recording has speech, for those who decide where windows begin and end.

use std::ops::Range;

use crate::dims::{FRAMES_PER_SECOND, HOP_LENGTH, SAMPLE_RATE};
use crate::transcript::SpeechSpan;

/// Spans of speech in mel frames: in order, none empty, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speech(Vec<Range<usize>>);

impl Speech {
    /// Of spans in samples, in order.
    #[must_use]
    pub fn of_samples(spans: &[Range<usize>], content_frames: usize) -> Self {
        let frames = |span: &Range<usize>| {
            span.start / HOP_LENGTH..span.end.div_ceil(HOP_LENGTH).min(content_frames)
        };
        Self::joined(spans.iter().map(frames))
    }

    /// Of ranges of frames in order, which may touch or overlap their neighbours.
    fn joined(ranges: impl Iterator<Item = Range<usize>>) -> Self {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for range in ranges.filter(|range| !range.is_empty()) {
            match spans.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => spans.push(range),
            }
        }
        Self(spans)
    }

    /// The spans.
    #[must_use]
    pub fn spans(&self) -> &[Range<usize>] {
        &self.0
    }

    /// The parts of the spans that lie in a range, in order.
    pub fn within(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let first = self.0.partition_point(|span| span.end <= range.start);
        self.0[first..]
            .iter()
            .take_while(move |span| span.start < range.end)
            .map(move |span| span.start.max(range.start)..span.end.min(range.end))
    }

    /// The stretch of a range from its first speech to its last, if it has any.
    #[must_use]
    pub fn extent(&self, range: Range<usize>) -> Option<Range<usize>> {
        let mut parts = self.within(range);
        let first = parts.next()?;
        let end = parts.last().map_or(first.end, |last| last.end);
        Some(first.start..end)
    }

    /// Frames of speech in a range.
    #[must_use]
    pub fn frames(&self, range: Range<usize>) -> usize {
        self.within(range).map(|part| part.len()).sum()
    }

    /// The speech of a range, divided at its pauses of more than `longest` frames alone.
    #[must_use]
    pub fn between_pauses(&self, range: Range<usize>, longest: usize) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for part in self.within(range) {
            match spans.last_mut() {
                Some(last) if part.start - last.end <= longest => last.end = part.end,
                _ => spans.push(part),
            }
        }
        spans
    }

    /// What becomes of the spans where only `kept` is left of the recording, joined in that order.
    #[must_use]
    pub fn through(&self, kept: &[Range<usize>]) -> Self {
        let mut before = 0;
        let parts = kept.iter().flat_map(|kept| {
            let offset = before;
            before += kept.len();
            self.within(kept.clone())
                .map(move |part| offset + part.start - kept.start..offset + part.end - kept.start)
        });
        Self::joined(parts)
    }
}

/// Spans in seconds as samples: in order, joined where they overlap, none past the end.
#[must_use]
pub fn samples_of(spans: &[SpeechSpan], samples: usize) -> Vec<Range<usize>> {
    let sample = |s: f64| ((s * SAMPLE_RATE as f64).round() as usize).min(samples);
    let mut sorted: Vec<_> = spans
        .iter()
        .map(|span| sample(span.start)..sample(span.end))
        .collect();
    sorted.sort_by_key(|span| (span.start, span.end));
    Speech::joined(sorted.into_iter()).0
}

/// Spans in samples as seconds.
#[must_use]
pub fn seconds_of(spans: &[Range<usize>]) -> Vec<SpeechSpan> {
    let second = |sample: usize| sample as f64 / SAMPLE_RATE as f64;
    spans
        .iter()
        .map(|span| SpeechSpan {
            start: second(span.start),
            end: second(span.end),
        })
        .collect()
}

/// From the clock of what is left of a recording to the recording's own.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// What is left, in frames of the recording, in the order in which it is joined.
    kept: Vec<Range<usize>>,
    /// Where each begins in what is left, in seconds.
    starts_s: Vec<f64>,
}

/// This near to where two spans are joined, what mostly lies in one of them lies in that alone: spans are
/// this much wider than their speech. In seconds.
const EDGE_S: f64 = 0.4;

impl Clock {
    /// Of the stretches that are left.
    #[must_use]
    pub fn new(kept: Vec<Range<usize>>) -> Self {
        let mut before = 0;
        let starts_s = kept.iter().map(|kept| {
            let start = before;
            before += kept.len();
            seconds(start)
        });
        Self {
            starts_s: starts_s.collect(),
            kept,
        }
    }

    /// The same of a recording that has this many frames more before it.
    #[must_use]
    pub fn later(mut self, frames: usize) -> Self {
        for kept in &mut self.kept {
            *kept = kept.start + frames..kept.end + frames;
        }
        self
    }

    /// The span that a time lies in; at a joint the one before it, if `ends` there.
    fn index(&self, time_s: f64, ends: bool) -> usize {
        let begun = |start_s: &f64| match ends {
            true => *start_s < time_s - TINY_S,
            false => *start_s <= time_s + TINY_S,
        };
        self.starts_s.partition_point(begun).saturating_sub(1)
    }

    /// A time in a span, on the recording's clock; what lies outside is the span's edge.
    fn at(&self, index: usize, time_s: f64) -> f64 {
        let (Some(kept), Some(start_s)) = (self.kept.get(index), self.starts_s.get(index)) else {
            return time_s;
        };
        let own = seconds(kept.start) + (time_s - start_s);
        let own = own.clamp(seconds(kept.start), seconds(kept.end));
        // Times have two places.
        (own * 100.0).round() / 100.0
    }

    /// When something begins.
    #[must_use]
    pub fn start(&self, time_s: f64) -> f64 {
        self.at(self.index(time_s, false), time_s)
    }

    /// From when to when something lasts. What reaches a little into the next span, or begins just before the end of
    /// the one before, is drawn back to where it mostly is.
    #[must_use]
    pub fn span(&self, start_s: f64, end_s: f64) -> (f64, f64) {
        let (mut first, mut last) = (self.index(start_s, false), self.index(end_s, true));
        last = last.max(first);
        let joint = |index: usize| self.starts_s.get(index).copied().unwrap_or(0.0);
        if first < last && joint(first + 1) - start_s < EDGE_S.min(end_s - joint(first + 1)) {
            first += 1;
        }
        if first < last && end_s - joint(last) < EDGE_S.min(joint(last) - start_s) {
            last -= 1;
        }
        let start = self.at(first, start_s);
        (start, self.at(last, end_s).max(start))
    }

    /// A word lies in one span: the one that its middle is in.
    #[must_use]
    pub fn word(&self, start_s: f64, end_s: f64) -> (f64, f64) {
        let index = self.index((start_s + end_s) / 2.0, false);
        (self.at(index, start_s), self.at(index, end_s))
    }

    /// A frame of what is left, as one of the recording.
    #[must_use]
    pub fn frame(&self, frame: usize, ends: bool) -> usize {
        let index = self.index(seconds(frame), ends);
        let (Some(kept), Some(start_s)) = (self.kept.get(index), self.starts_s.get(index)) else {
            return frame;
        };
        let before = (start_s * FRAMES_PER_SECOND as f64).round() as usize;
        (kept.start + frame.saturating_sub(before)).min(kept.end)
    }
}

/// Less than any step of a clock.
const TINY_S: f64 = 1e-6;

fn seconds(frames: usize) -> f64 {
    frames as f64 / FRAMES_PER_SECOND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(spans: &[(usize, usize)]) -> Speech {
        Speech::joined(spans.iter().map(|(start, end)| *start..*end))
    }

    #[test]
    fn spans_of_samples_are_frames_that_do_not_touch() {
        let speech = Speech::of_samples(&[0..161, 170..480, 1600..1601, 3200..9999], 21);
        assert_eq!(speech.spans(), [0..3, 10..11, 20..21]);
        assert_eq!(speech.extent(2..15), Some(2..11));
        assert_eq!(speech.extent(3..10), None);
        assert_eq!(speech.frames(1..21), 4);
    }

    #[test]
    fn what_is_left_keeps_its_speech() {
        let speech = speech(&[(10, 20), (50, 60)]);
        let left = speech.through(&[5..25, 40..70]);
        assert_eq!(left.spans(), [5..15, 30..40]);
        // In another order.
        assert_eq!(speech.through(&[40..70, 5..25]).spans(), [10..20, 35..45]);
    }

    #[test]
    fn spans_in_seconds_are_put_in_order() {
        let span = |start, end| SpeechSpan { start, end };
        let samples = samples_of(&[span(2.0, 3.0), span(0.5, 1.0), span(0.9, 1.5)], 40_000);
        assert_eq!(samples, [8000..24_000, 32_000..40_000]);
        assert_eq!(seconds_of(&samples), [span(0.5, 1.5), span(2.0, 2.5)]);
    }

    #[test]
    fn times_are_those_of_the_recording() {
        // 3 s from 10 s on, then 2 s from 60 s on.
        let clock = Clock::new(vec![1000..1300, 6000..6200]);
        let spans = [
            ((0.0, 1.0), (10.0, 11.0)),
            ((1.0, 3.0), (11.0, 13.0)),
            ((3.0, 4.0), (60.0, 61.0)),
            // Across the joint, for long on both sides.
            ((2.0, 4.0), (12.0, 61.0)),
            // A little across it.
            ((1.0, 3.2), (11.0, 13.0)),
            ((2.9, 4.5), (60.0, 61.5)),
            // Past the end.
            ((4.0, 9.0), (61.0, 62.0)),
        ];
        for ((start, end), expected) in spans {
            assert_eq!(clock.span(start, end), expected, "{start} to {end}");
        }
        assert_eq!(clock.word(2.9, 3.5), (60.0, 60.5));
        assert_eq!(clock.word(2.5, 3.1), (12.5, 13.0));
        assert_eq!(
            (clock.frame(299, false), clock.frame(300, false)),
            (1299, 6000)
        );
        assert_eq!(
            (clock.frame(300, true), clock.frame(500, true)),
            (1300, 6200)
        );
    }

    #[test]
    fn times_never_go_back() {
        let clock = Clock::new(vec![100..150, 200..210, 500..900]);
        let (mut last, mut middle) = (0.0, 0.0);
        for step in 0..470 {
            let time = f64::from(step) / 100.0;
            let (start, end) = clock.span(time, time + 0.3);
            assert!(start >= last && end >= start, "{time}: {start} {end}");
            last = start;
            let word = clock.word(time, time + 0.1);
            assert!(word.0 >= middle && word.1 >= word.0, "{time}: {word:?}");
            middle = word.0;
        }
    }
}
