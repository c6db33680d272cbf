//! What the robust preset does about invented and lost text: it knows where somebody speaks.
//!
//! Text where nobody does is dropped, and so is what repeats itself; speech that a window left without text is
//! decoded by itself. All that is dropped or stays without text is told.

use std::ops::Range;

use super::content::Content;
use super::coverage::{frame, seconds, told, uncovered};
use super::phantoms::is_phantom;
use super::recording::{DecodeWindows, Recording, WindowRequest};
use super::segments::{WindowSegments, WindowSpan, clear_empty, segments_from_tokens};
use super::speech::Speech;
use super::words::{add_words, keep_words_inside};
use crate::decoding::fallback::needs_fallback;
use crate::decoding::{DecodingResult, loop_in, strip};
use crate::dims::N_FRAMES;
use crate::error::Result;
use crate::options::{DecodingOptions, Gates};
use crate::tokenizer::Tokenizer;
use crate::transcript::{DropReason, Dropped, Segment};

/// Text this near to speech may be its text: times are not exact.
const NEAR_FRAMES: usize = 50;
/// A phantom phrase is dropped where less than this share of its time is speech.
const SPOKEN_SHARE: f64 = 0.3;
/// A stretch without text is decoded by itself if it has this much speech.
const GAP_SPEECH_FRAMES: usize = 150;
/// A window of its own begins this much before its speech.
const LEAD_FRAMES: usize = 30;

/// Cuts a result's text behind the first round of a loop. The text that goes, if it loops.
pub(super) fn cut_loop(tokenizer: &Tokenizer, result: &mut DecodingResult) -> Option<String> {
    let kept = loop_in(&result.tokens, tokenizer.eot())?;
    let rest = result.tokens.split_off(kept);
    result.text = strip(&tokenizer.decode(&result.tokens)).to_owned();
    Some(tokenizer.decode(&rest))
}

/// A window's segments without those that nobody has said.
pub(super) fn spoken_only(
    voiced: &Speech,
    segments: &mut Vec<Segment>,
    dropped: &mut Vec<Dropped>,
) {
    segments.retain(|segment| {
        let reason = why_not_spoken(voiced, segment);
        if let Some(reason) = reason {
            dropped.push(Dropped {
                start: segment.start,
                end: segment.end,
                text: segment.text.clone(),
                reason,
                speaker: None,
            });
        }
        reason.is_none()
    });
}

fn why_not_spoken(voiced: &Speech, segment: &Segment) -> Option<DropReason> {
    if strip(&segment.text).is_empty() {
        return None;
    }
    let (start, end) = (frame(segment.start), frame(segment.end));
    let around = start.saturating_sub(NEAR_FRAMES)..end + NEAR_FRAMES;
    if voiced.frames(around) == 0 {
        return Some(DropReason::NoSpeech);
    }
    let share = voiced.frames(start..end) as f64 / (end.saturating_sub(start)).max(1) as f64;
    (share < SPOKEN_SHARE && is_phantom(&segment.text)).then_some(DropReason::Phantom)
}

/// What the rest of a window's time is worth.
pub(super) struct Guard<'a> {
    voiced: &'a Speech,
    /// Mel frames of the recording.
    frames: usize,
}

impl<'a> Guard<'a> {
    /// A guard, if one is asked for and where somebody speaks is known.
    pub fn of(content: &'a Content) -> Option<Self> {
        let voiced = content.voiced.as_ref().filter(|_| content.guarded)?;
        Some(Self {
            voiced,
            frames: content.frames,
        })
    }

    /// A window's segments as they should be: nothing that loops, nothing that nobody has said.
    pub fn sorted_out(
        &self,
        span: WindowSpan,
        looped: Option<String>,
        cut: &mut WindowSegments,
        dropped: &mut Vec<Dropped>,
    ) {
        if let Some(text) = looped {
            let end = span.seek_frames + span.segment_frames;
            let last = cut
                .segments
                .last()
                .map_or(span.seek_frames, |s| frame(s.end));
            dropped.push(told(last.min(end)..end, text, DropReason::Loop));
            // The same audio would loop again.
            cut.next_seek_frames = end;
        }
        spoken_only(self.voiced, &mut cut.segments, dropped);
    }

    /// What of a range a window left without text although somebody speaks: to be decoded by itself.
    pub fn rescues(&self, range: Range<usize>, segments: &[Segment]) -> Vec<Rescue> {
        let mut rescues = Vec::new();
        for gap in uncovered(self.voiced, range.clone(), segments, GAP_SPEECH_FRAMES) {
            let mut start = gap.start.saturating_sub(LEAD_FRAMES).max(range.start);
            while start < gap.end {
                let end = (gap.end + LEAD_FRAMES)
                    .min(self.frames)
                    .min(start + N_FRAMES);
                let span = WindowSpan {
                    seek_frames: start,
                    segment_frames: end - start,
                };
                rescues.push(Rescue { span, end: gap.end });
                start = end;
            }
        }
        rescues
    }

    /// What of a rescue's speech lies behind the text that it found: to be decoded in turn.
    pub fn rest(&self, rescue: Rescue, found: &[Segment]) -> Option<Rescue> {
        let Rescue { span, end } = rescue;
        let text_end = frame(found.last()?.end).max(span.seek_frames + 1);
        let end = end.min(span.seek_frames + span.segment_frames);
        self.rescues(text_end..end, &[]).into_iter().next()
    }

    /// What a rescue has found: nothing, if it failed the gates.
    pub fn found(
        &self,
        recording: &Recording<'_>,
        Rescue { span, end }: Rescue,
        mut result: DecodingResult,
        dropped: &mut Vec<Dropped>,
    ) -> Vec<Segment> {
        let looped = cut_loop(recording.tokenizer, &mut result).is_some();
        if looped || needs_fallback(&result, &rescue_gates(recording)) {
            return Vec::new();
        }
        let mut cut = segments_from_tokens(recording.tokenizer, span, &result);
        if recording.asked.word_timestamps {
            let start_s = seconds(span.seek_frames);
            add_words(recording, &result, &mut cut.segments, start_s);
        }
        let end_s = seconds(end + LEAD_FRAMES);
        for segment in &mut cut.segments {
            segment.start = segment.start.min(end_s);
            segment.end = segment.end.clamp(segment.start, end_s);
            keep_words_inside(segment);
        }
        clear_empty(&mut cut.segments);
        cut.segments.retain(|segment| !segment.text.is_empty());
        spoken_only(self.voiced, &mut cut.segments, dropped);
        cut.segments
    }
}

/// Speech without text that is decoded by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescue {
    pub span: WindowSpan,
    /// Mel frame at which the speech ends.
    end: usize,
}

impl Rescue {
    /// Hands it over: without the text before it, and whatever the no-speech gate says.
    pub fn submit(
        self,
        recording: &mut Recording<'_>,
        id: usize,
        decoder: &mut dyn DecodeWindows,
    ) -> Result<()> {
        let gates = rescue_gates(recording);
        let options = DecodingOptions {
            prompt: Vec::new(),
            ..recording.options.clone()
        };
        decoder.submit(
            id,
            WindowRequest {
                seek_frames: self.span.seek_frames,
                segment_frames: self.span.segment_frames,
                options: &options,
                gates: &gates,
            },
        )
    }
}

fn rescue_gates(recording: &Recording<'_>) -> Gates {
    Gates {
        no_speech_threshold: None,
        ..recording.asked.gates.clone()
    }
}

/// What a window that counts as silent would have said.
pub(super) fn silent(span: WindowSpan, result: &DecodingResult) -> Option<Dropped> {
    let range = span.seek_frames..span.seek_frames + span.segment_frames;
    let text = result.text.clone();
    (!text.is_empty()).then(|| told(range, text, DropReason::NoSpeech))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::longform::coverage::tests::{says, voiced};

    #[test]
    fn text_where_nobody_speaks_is_dropped() {
        let voiced = voiced(&[(1000, 1300)]);
        let cases = [
            (says(10.0, 13.0, " Hello there."), None),
            (says(10.0, 13.0, " Thanks for watching!"), None),
            (
                says(12.8, 20.0, " Thanks for watching!"),
                Some(DropReason::Phantom),
            ),
            (says(12.8, 20.0, " And then he left."), None),
            (says(13.4, 20.0, " And then he left."), None),
            (
                says(14.0, 20.0, " And then he left."),
                Some(DropReason::NoSpeech),
            ),
            (says(14.0, 20.0, " "), None),
        ];
        for (segment, reason) in cases {
            let (mut segments, mut dropped) = (vec![segment.clone()], Vec::new());
            spoken_only(&voiced, &mut segments, &mut dropped);
            assert_eq!(dropped.first().map(|d| d.reason), reason, "{segment:?}");
            assert_eq!(segments.is_empty(), reason.is_some());
        }
    }
}
