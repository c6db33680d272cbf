//! What of a recording's speech has no text in the end, and why.

use std::ops::Range;

use super::clips::seek_clips;
use super::content::Content;
use super::speech::Speech;
use crate::decoding::strip;
use crate::dims::FRAMES_PER_SECOND;
use crate::options::TranscribeOptions;
use crate::transcript::{DropReason, Dropped, Segment, Transcript};

/// A stretch without text is told if it has this much speech: times of segments are not more exact than that.
const LEAST_SPEECH_FRAMES: usize = 100;
/// A longer pause divides what is told.
const PAUSE_FRAMES: usize = 200;

/// The stretches of a range that have no text, and as much speech as `least` says, from their first speech to
/// their last.
pub(super) fn uncovered(
    voiced: &Speech,
    range: Range<usize>,
    segments: &[Segment],
    least: usize,
) -> Vec<Range<usize>> {
    let texts = segments.iter().filter(|s| !strip(&s.text).is_empty());
    let mut edges: Vec<_> = texts.map(|s| (frame(s.start), frame(s.end))).collect();
    // Clips may come in any order.
    edges.sort_unstable();
    edges.push((range.end, range.end));
    let (mut gaps, mut from) = (Vec::new(), range.start);
    for (start, end) in edges {
        let gap = from..start.min(range.end);
        if gap.len() >= least && voiced.frames(gap.clone()) >= least {
            gaps.extend(voiced.extent(gap));
        }
        from = from.max(end);
    }
    gaps
}

/// All speech of a recording without text, where it is known where there is speech. Nothing else is lost.
pub(super) fn told_uncovered(
    content: &Content,
    options: &TranscribeOptions,
    transcript: &Transcript,
) -> Vec<Dropped> {
    let Some(voiced) = &content.voiced else {
        return Vec::new();
    };
    let clips = seek_clips(&options.clip_timestamps, content.frames).into_iter();
    let gaps =
        clips.flat_map(|clip| uncovered(voiced, clip, &transcript.segments, LEAST_SPEECH_FRAMES));
    gaps.flat_map(|gap| voiced.between_pauses(gap, PAUSE_FRAMES))
        .map(|gap| {
            let reason = why(&gap, transcript);
            told(gap, String::new(), reason)
        })
        .collect()
}

/// Why a stretch has no text: what became of the windows that heard it.
fn why(gap: &Range<usize>, transcript: &Transcript) -> DropReason {
    let overlaps = |start: usize, end: usize| start < gap.end && end > gap.start;
    let dropped = transcript.dropped.iter();
    let mut dropped = dropped.filter(|d| overlaps(frame(d.start), frame(d.end)));
    if dropped.any(|d| d.reason == DropReason::Loop) {
        return DropReason::UncoveredLoop;
    }
    let mut windows = transcript.windows.iter();
    match windows.any(|w| w.silent && overlaps(w.seek, w.seek + w.frames)) {
        true => DropReason::UncoveredSilent,
        false => DropReason::Uncovered,
    }
}

/// What is told of a range of frames.
pub(super) fn told(range: Range<usize>, text: String, reason: DropReason) -> Dropped {
    Dropped {
        start: seconds(range.start),
        end: seconds(range.end),
        text,
        reason,
        speaker: None,
    }
}

/// A time as a frame.
pub(super) fn frame(seconds: f64) -> usize {
    (seconds * FRAMES_PER_SECOND as f64).round().max(0.0) as usize
}

/// A frame as a time.
pub(super) fn seconds(frames: usize) -> f64 {
    frames as f64 / FRAMES_PER_SECOND as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::transcript::WindowTrace;

    /// Speech between these frames.
    pub(in crate::longform) fn voiced(spans: &[(usize, usize)]) -> Speech {
        let samples: Vec<_> = spans.iter().map(|(a, b)| a * 160..b * 160).collect();
        Speech::of_samples(&samples, 100_000)
    }

    /// A segment.
    pub(in crate::longform) fn says(start: f64, end: f64, text: &str) -> Segment {
        Segment {
            start,
            end,
            text: text.into(),
            ..Segment::default()
        }
    }

    #[test]
    fn speech_without_text_is_found() {
        let voiced = voiced(&[(0, 500), (600, 900), (1000, 1100), (2000, 2900)]);
        let mut segments = [
            says(0.0, 5.0, " One."),
            says(19.0, 24.0, " Two."),
            says(24.0, 24.0, ""),
        ];
        for _ in 0..2 {
            // From 5 s to 19 s there are 4 s of speech, and 5 s from 24 s on.
            let gaps = uncovered(&voiced, 0..3000, &segments, 150);
            assert_eq!(gaps, [600..1100, 2400..2900]);
            assert!(uncovered(&voiced, 0..700, &segments, 150).is_empty());
            segments.reverse();
        }
        assert_eq!(
            uncovered(&voiced, 0..3000, &[], 150).first(),
            Some(&(0..2900))
        );
    }

    #[test]
    fn each_stretch_has_its_reason() {
        let content = Content {
            voiced: Some(voiced(&[
                (0, 500),
                (3000, 3500),
                (6000, 6500),
                (6600, 6690),
            ])),
            ..9000.into()
        };
        let window = |seek, silent| WindowTrace {
            seek,
            frames: 3000,
            silent,
            ..WindowTrace::default()
        };
        let mut transcript = Transcript {
            windows: vec![window(0, true), window(3000, false), window(6000, false)],
            segments: vec![says(65.2, 66.0, " So.")],
            ..Transcript::default()
        };
        transcript.dropped = vec![told(3000..3500, " a a a".into(), DropReason::Loop)];
        let options = TranscribeOptions::default();
        let found = told_uncovered(&content, &options, &transcript);
        let found: Vec<_> = found.iter().map(|d| (d.start, d.end, d.reason)).collect();
        // The last 0.9 s are less than segments' times say.
        assert_eq!(
            found,
            [
                (0.0, 5.0, DropReason::UncoveredSilent),
                (30.0, 35.0, DropReason::UncoveredLoop),
                (60.0, 65.0, DropReason::Uncovered),
            ]
        );
        let clipped = TranscribeOptions {
            clip_timestamps: vec![0.0, 4.0],
            ..options
        };
        let found = told_uncovered(&content, &clipped, &transcript);
        assert_eq!((found.len(), found[0].end), (1, 4.0));
    }
}
