//! Windows side by side: a recording is cut into stretches at quiet places, which are decoded side by
//! side, each window by window, without one window knowing what another says, and joined in order.
//!
//! A cut costs: nobody said that the speaker would pause between sentences where it is, and what is
//! left open there is decoded a second time. So a long recording, which has stretches for everybody
//! anyway, is cut into longer ones than single windows.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::decoding::DecodingResult;
use crate::dims::FRAMES_PER_SECOND;
use crate::error::{Error, Result};
use crate::longform::clips::seek_clips;
use crate::longform::content::Content;
use crate::longform::cuts::stretches_at_quiet_places;
use crate::longform::guards::{self, Guard, cut_loop};
use crate::longform::recording::{DecodeWindows, Recording};
use crate::longform::segments::{clear_empty, segments_from_tokens};
use crate::longform::trace::trace;
use crate::longform::words::{add_words, keep_words_inside};
use crate::options::TranscribeOptions;
use crate::tokenizer::Tokenizer;
use crate::transcript::{Dropped, Segment, SegmentSink, Transcript, WindowTrace};

/// Windows that wait for a slot beside those that are decoded, so that no slot waits for them.
const AHEAD: usize = 2;
/// What is left of a stretch behind its last closed segment, and was given no text, is looked at
/// again if it is at least this long: there is no room for a word in less.
const LEAST_REST_FRAMES: usize = 50;

/// Transcribes a recording in windows that are decoded side by side, `options.batch_size` at once.
/// Segments reach `sink` in order, as soon as all before them are there; `report` hears the seconds
/// that are behind. The language of `options` is set; `loudness` has a value for each of the
/// recording's mel frames.
///
/// No window is conditioned on the text before it; the initial prompt is put before each. A window
/// whose last segment is not closed is followed by one that starts where its last closed one ended,
/// and so is the last of a stretch: no tail is lost at a cut. Segments end within their stretch, and
/// times never decrease. The result does not depend on the batch size.
///
/// # Errors
/// Whatever `decoder` or `sink` gives.
pub fn transcribe_batched(
    content: &Content,
    loudness: &[f32],
    tokenizer: &Tokenizer,
    options: &TranscribeOptions,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let recording = Recording::new(tokenizer, options, decoder.n_text_ctx());
    let mut work = Stretches::new(content, loudness, recording);
    let at_once = options.batch_size.unwrap_or(1).max(1) + AHEAD;
    while work.joined < work.stretches.len() {
        while work.under_way < at_once && work.submitted < work.stretches.len() {
            work.submitted += 1;
            work.submit(work.submitted - 1, decoder)?;
        }
        let (id, result) = decoder.next_result()?;
        work.under_way -= 1;
        work.take(id, &result, decoder)?;
        work.join(sink)?;
        report(work.done_frames as f64 / FRAMES_PER_SECOND as f64);
    }
    let transcript = work.recording.transcript;
    let tokens = transcript
        .segments
        .iter()
        .flat_map(|segment| &segment.tokens);
    let text = tokenizer.decode(&tokens.copied().collect::<Vec<_>>());
    Ok(Transcript { text, ..transcript })
}

/// A recording's stretches and what is known of each.
struct Stretches<'a> {
    content: &'a Content,
    recording: Recording<'a>,
    stretches: Vec<Stretch>,
    /// Stretches begun so far; they are in order.
    submitted: usize,
    /// Stretches with a window whose result is still to come.
    under_way: usize,
    /// Stretches whose segments have all reached the sink.
    joined: usize,
    done_frames: usize,
}

/// A part of the recording from one quiet place to another.
struct Stretch {
    /// Mel frame at which its present window starts.
    seek_frames: usize,
    end_frames: usize,
    /// Segments that have not reached the sink.
    segments: VecDeque<Segment>,
    /// How its windows were decoded.
    traces: Vec<WindowTrace>,
    /// What was dropped and has not reached the sink.
    dropped: Vec<Dropped>,
    /// When its present window was handed over.
    submitted: Instant,
}

impl Stretch {
    fn new(frames: Range<usize>) -> Self {
        Self {
            seek_frames: frames.start,
            end_frames: frames.end,
            segments: VecDeque::new(),
            traces: Vec::new(),
            dropped: Vec::new(),
            submitted: Instant::now(),
        }
    }

    fn is_closed(&self) -> bool {
        self.seek_frames >= self.end_frames
    }

    /// What is left of it.
    fn left(&self) -> Range<usize> {
        self.seek_frames..self.end_frames
    }
}

impl<'a> Stretches<'a> {
    fn new(content: &'a Content, loudness: &[f32], recording: Recording<'a>) -> Self {
        let clips = seek_clips(&recording.asked.clip_timestamps, loudness.len());
        let stretches = clips
            .into_iter()
            .flat_map(|clip| content.parts(clip))
            .flat_map(|clip| stretches_at_quiet_places(clip, loudness))
            .filter_map(|stretch| content.spoken(stretch));
        Self {
            content,
            recording,
            stretches: stretches.map(Stretch::new).collect(),
            submitted: 0,
            under_way: 0,
            joined: 0,
            done_frames: 0,
        }
    }

    /// Hands over a stretch's present window.
    fn submit(&mut self, id: usize, decoder: &mut dyn DecodeWindows) -> Result<()> {
        let stretch = &mut self.stretches[id];
        stretch.submitted = Instant::now();
        self.under_way += 1;
        let span = self.content.window(stretch.left());
        let span = span.ok_or_else(|| Error::Engine(format!("stretch {id} has no window left")))?;
        self.recording.speak(self.content.run_at(span.seek_frames));
        decoder.submit(id, self.recording.request(span))
    }

    /// Takes a result in: the stretch is closed, or its next window is handed over.
    fn take(
        &mut self,
        id: usize,
        result: &DecodingResult,
        decoder: &mut dyn DecodeWindows,
    ) -> Result<()> {
        let Some(stretch) = self
            .stretches
            .get_mut(id)
            .filter(|stretch| !stretch.is_closed())
        else {
            return Err(Error::Engine(format!(
                "an answer for stretch {id}, which is closed"
            )));
        };
        let end = stretch.end_frames;
        let Some(span) = self.content.window(stretch.left()) else {
            return Err(Error::Engine(format!("stretch {id} had no window")));
        };
        let mut next = span.seek_frames + span.segment_frames;
        let trace = trace(
            span,
            result,
            &self.recording.asked.gates,
            stretch.submitted.elapsed(),
        );
        let guard = Guard::of(self.content);
        let mut result = Cow::Borrowed(result);
        if trace.silent {
            if let Some(guard) = guard {
                stretch.dropped.extend(guards::silent(span, &result));
                guard.tell_uncovered(span.seek_frames..next, &[], &mut stretch.dropped);
            }
        } else {
            let looped = match guard {
                Some(_) => cut_loop(self.recording.tokenizer, result.to_mut()),
                None => None,
            };
            let result = &*result;
            let mut cut = segments_from_tokens(self.recording.tokenizer, span, result);
            if self.recording.asked.word_timestamps {
                let start_s = span.seek_frames as f64 / FRAMES_PER_SECOND as f64;
                add_words(&self.recording, span, result, &mut cut.segments, start_s);
            }
            if let Some(guard) = guard {
                guard.sorted_out(span, looped, &mut cut, &mut stretch.dropped);
                let range = span.seek_frames..cut.next_seek_frames.min(next);
                guard.tell_uncovered(range, &cut.segments, &mut stretch.dropped);
            }
            clear_empty(&mut cut.segments);
            self.content.label(span, &mut cut.segments);
            stretch.segments.extend(cut.segments);
            next = cut.next_seek_frames.min(next);
            let is_open = result
                .tokens
                .last()
                .is_some_and(|t| !self.recording.tokenizer.is_timestamp(*t));
            if end - next < LEAST_REST_FRAMES && !is_open {
                next = end;
            }
        }
        stretch.traces.push(trace);
        let next = self
            .content
            .spoken(next..end)
            .map_or(end, |left| left.start);
        stretch.seek_frames = next;
        self.done_frames += next - span.seek_frames;
        if next < end {
            self.submit(id, decoder)
        } else {
            Ok(())
        }
    }

    /// Hands on the segments that have only closed stretches before theirs.
    fn join(&mut self, sink: &mut dyn SegmentSink) -> Result<()> {
        while let Some(stretch) = self.stretches.get_mut(self.joined) {
            let end_s = stretch.end_frames as f64 / FRAMES_PER_SECOND as f64;
            let is_closed = stretch.is_closed();
            for trace in std::mem::take(&mut stretch.traces) {
                self.recording.add_window(trace, sink)?;
            }
            for mut segment in std::mem::take(&mut stretch.segments) {
                let earlier_s = self
                    .recording
                    .transcript
                    .segments
                    .last()
                    .map(|last| last.end);
                let earlier_s = earlier_s.filter(|_| !self.goes_back(&segment));
                segment.start = segment.start.min(end_s).max(earlier_s.unwrap_or(0.0));
                segment.end = segment.end.min(end_s).max(segment.start);
                keep_words_inside(&mut segment);
                self.recording.add_segment(segment, sink)?;
            }
            let dropped = std::mem::take(&mut self.stretches[self.joined].dropped);
            self.recording.add_dropped(dropped, sink)?;
            if !is_closed {
                break;
            }
            self.joined += 1;
        }
        Ok(())
    }

    /// Whether a segment's clip lies before the one of the last segment: clips may come in any order.
    fn goes_back(&self, segment: &Segment) -> bool {
        self.recording
            .transcript
            .segments
            .last()
            .is_some_and(|last| segment.seek < last.seek)
    }
}

#[cfg(test)]
mod tests;
