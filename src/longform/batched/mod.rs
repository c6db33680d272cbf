//! Windows side by side: a recording is cut into stretches at quiet places, which are decoded side by
//! side, each window by window, without one window knowing what another says, and joined in order.
//!
//! Where it is known where somebody speaks, each stretch is a window of speech that ends in a pause.
//! Elsewhere a cut costs: nobody said that the speaker would pause between sentences where it is, and
//! what is left open there is decoded a second time. So a long recording, which has stretches for
//! everybody anyway, is cut into longer ones than single windows.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::decoding::DecodingResult;
use crate::dims::FRAMES_PER_SECOND;
use crate::error::{Error, Result};
use crate::longform::clips::seek_clips;
use crate::longform::content::Content;
use crate::longform::cuts::{stretches_at_quiet_places, windows_of_speech};
use crate::longform::guards::{self, Guard, Rescue, cut_loop};
use crate::longform::recording::{DecodeWindows, Recording};
use crate::longform::segments::{WindowSegments, clear_empty, segments_from_tokens};
use crate::longform::trace::trace;
use crate::longform::words::{add_words, keep_words_inside};
use crate::transcript::{Dropped, Segment, SegmentSink, Transcript, WindowTrace};

/// Windows that wait for a slot beside those that are decoded, so that no slot waits for them.
const AHEAD: usize = 2;
/// What is left of a stretch behind its last closed segment, and was given no text, is looked at
/// again if it is at least this long: there is no room for a word in less.
const LEAST_REST_FRAMES: usize = 50;

/// Transcribes a recording, or the next part of one, in windows that are decoded side by side, `batch_size` of the
/// options at once. Segments reach `sink` in order, as soon as all before them are there; `report` hears the seconds
/// that are behind. `loudness` has a value for each of the recording's mel frames.
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
    recording: &mut Recording<'_>,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let at_once = recording.asked.batch_size.unwrap_or(1).max(1) + AHEAD;
    let mut work = Stretches::new(content, loudness, recording);
    while work.joined < work.stretches.len() {
        while work.under_way < at_once && work.submitted < work.stretches.len() {
            work.submitted += 1;
            work.submit(work.submitted - 1, decoder)?;
        }
        let (id, result) = decoder.next_result()?;
        work.under_way -= 1;
        work.take(id, result, decoder)?;
        work.join(sink)?;
        report(work.done_frames as f64 / FRAMES_PER_SECOND as f64);
    }
    work.recording.end_part(content, sink)
}

/// A recording's stretches and what is known of each.
struct Stretches<'a, 'b> {
    content: &'a Content,
    recording: &'a mut Recording<'b>,
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
    /// Speech that its windows left without text, to be decoded by itself before the next window.
    rescues: VecDeque<Rescue>,
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
            rescues: VecDeque::new(),
            submitted: Instant::now(),
        }
    }

    fn is_closed(&self) -> bool {
        self.seek_frames >= self.end_frames && self.rescues.is_empty()
    }

    /// What is left of it.
    fn left(&self) -> Range<usize> {
        self.seek_frames..self.end_frames
    }
}

impl<'a, 'b> Stretches<'a, 'b> {
    fn new(content: &'a Content, loudness: &[f32], recording: &'a mut Recording<'b>) -> Self {
        let clips = seek_clips(&recording.asked.clip_timestamps, loudness.len());
        let cut = |clip| match &content.pauses {
            Some(pauses) => windows_of_speech(clip, content, pauses, loudness),
            None => stretches_at_quiet_places(clip, loudness),
        };
        let stretches = clips
            .into_iter()
            .flat_map(|clip| content.parts(clip))
            .flat_map(cut)
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

    /// Hands over a stretch's present window, or the speech that the one before it left without text.
    fn submit(&mut self, id: usize, decoder: &mut dyn DecodeWindows) -> Result<()> {
        let stretch = &mut self.stretches[id];
        stretch.submitted = Instant::now();
        self.under_way += 1;
        if let Some(rescue) = stretch.rescues.front() {
            let run = self.content.run_at(rescue.span.seek_frames);
            self.recording.speak(run);
            return rescue.submit(self.recording, id, decoder);
        }
        let span = self.content.window(stretch.left());
        let span = span.ok_or_else(|| Error::Engine(format!("stretch {id} has no window left")))?;
        self.recording.speak(self.content.run_at(span.seek_frames));
        decoder.submit(id, self.recording.request(span))
    }

    /// Takes a result in: the stretch is closed, or what is next of it is handed over.
    fn take(
        &mut self,
        id: usize,
        result: DecodingResult,
        decoder: &mut dyn DecodeWindows,
    ) -> Result<()> {
        let stretch = self.stretches.get_mut(id);
        let Some(stretch) = stretch.filter(|stretch| !stretch.is_closed()) else {
            return Err(Error::Engine(format!(
                "an answer for stretch {id}, which is closed"
            )));
        };
        match stretch.rescues.pop_front() {
            Some(rescue) => self.take_rescue(id, rescue, result),
            None => self.take_window(id, result)?,
        }
        match self.stretches[id].is_closed() {
            true => Ok(()),
            false => self.submit(id, decoder),
        }
    }

    /// Takes in what was found where a window had no text.
    fn take_rescue(&mut self, id: usize, rescue: Rescue, result: DecodingResult) {
        let stretch = &mut self.stretches[id];
        if let Some(guard) = Guard::of(self.content) {
            let dropped = &mut stretch.dropped;
            let mut found = guard.found(self.recording, rescue, result, dropped);
            self.content.label(rescue.span, &mut found);
            stretch.rescues.extend(guard.rest(rescue, &found));
            stretch.segments.extend(found);
            let segments = stretch.segments.make_contiguous();
            segments.sort_by(|a, b| a.start.total_cmp(&b.start));
        }
    }

    /// Takes in a window's result, and moves its stretch on.
    fn take_window(&mut self, id: usize, mut result: DecodingResult) -> Result<()> {
        let stretch = &mut self.stretches[id];
        let end = stretch.end_frames;
        let Some(span) = self.content.window(stretch.left()) else {
            return Err(Error::Engine(format!("stretch {id} had no window")));
        };
        let window_end = span.seek_frames + span.segment_frames;
        let gates = &self.recording.asked.gates;
        let trace = trace(span, &result, gates, stretch.submitted.elapsed());
        let guard = Guard::of(self.content);
        let (mut cut, mut looped) = (WindowSegments::none(window_end), None);
        let silent = trace.silent;
        if silent {
            let said = guard.as_ref().and_then(|_| guards::silent(span, &result));
            stretch.dropped.extend(said);
        } else {
            looped = guard
                .as_ref()
                .and_then(|_| cut_loop(self.recording.tokenizer, &mut result));
            cut = segments_from_tokens(self.recording.tokenizer, span, &result);
            if self.recording.asked.word_timestamps {
                let start_s = span.seek_frames as f64 / FRAMES_PER_SECOND as f64;
                add_words(self.recording, &result, &mut cut.segments, start_s);
            }
        }
        stretch.traces.push(trace);
        let mut next = cut.next_seek_frames.min(window_end);
        let is_text = |token: &u32| !self.recording.tokenizer.is_timestamp(*token);
        let is_open = looped.is_none() && result.tokens.last().is_some_and(is_text);
        if end - next < LEAST_REST_FRAMES && !is_open && !silent {
            next = end;
        }
        if let Some(guard) = guard {
            guard.sorted_out(span, looped, &mut cut, &mut stretch.dropped);
            next = next.max(cut.next_seek_frames.min(window_end));
            let rescues = guard.rescues(span.seek_frames..next, &cut.segments);
            stretch.rescues.extend(rescues);
        }
        clear_empty(&mut cut.segments);
        self.content.label(span, &mut cut.segments);
        stretch.segments.extend(cut.segments);
        let left = self.content.spoken(next..end);
        stretch.seek_frames = left.map_or(end, |left| left.start);
        self.done_frames += stretch.seek_frames - span.seek_frames;
        Ok(())
    }

    /// Hands on the segments that have only closed stretches before theirs.
    fn join(&mut self, sink: &mut dyn SegmentSink) -> Result<()> {
        while let Some(stretch) = self.stretches.get_mut(self.joined) {
            if !stretch.rescues.is_empty() {
                // What they find lies between its segments.
                break;
            }
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
