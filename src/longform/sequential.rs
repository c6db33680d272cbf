//! openai/whisper's `transcribe()`: one window after the other, each starting where the last
//! segment before it ended.

use std::collections::VecDeque;
use std::time::Instant;

use crate::dims::FRAMES_PER_SECOND;
use crate::error::Result;
use crate::longform::clips::seek_clips;
use crate::longform::content::Content;
use crate::longform::guards::{self, Guard, cut_loop};
use crate::longform::recording::{DecodeWindows, Recording};
use crate::longform::segments::{WindowSegments, WindowSpan, clear_empty, segments_from_tokens};
use crate::longform::trace::trace;
use crate::longform::words::TimedWords;
use crate::transcript::{SegmentSink, Transcript};

/// Transcribes a recording, or the next part of one, window by window; segments reach `sink` as their windows close, and
/// `report` the seconds that are behind.
///
/// # Errors
/// Whatever `decoder` or `sink` gives.
pub fn transcribe_sequential(
    content: &Content,
    recording: &mut Recording<'_>,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let mut words = TimedWords::new(content.frames);
    let clips = seek_clips(&recording.asked.clip_timestamps, content.frames).into_iter();
    for clip in clips.flat_map(|clip| content.parts(clip)) {
        recording.speak(content.run_at(clip.start));
        let mut seek_frames = clip.start;
        while let Some(span) = content.window(seek_frames..clip.end) {
            seek_frames = decode_window(recording, &mut words, content, span, decoder, sink)?;
            report(seek_frames.min(content.frames) as f64 / FRAMES_PER_SECOND as f64);
        }
    }
    recording.end_part(content, sink)
}

/// Decodes one window and closes it; gives the frame at which the next one starts.
fn decode_window(
    recording: &mut Recording<'_>,
    words: &mut TimedWords,
    content: &Content,
    span: WindowSpan,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
) -> Result<usize> {
    recording.options.prompt = recording.history.prompt();
    let (started, guard) = (Instant::now(), Guard::of(content));
    decoder.submit(0, recording.request(span))?;
    let (_, mut result) = decoder.next_result()?;
    let trace = trace(span, &result, &recording.asked.gates, started.elapsed());
    let silent = trace.silent;
    recording.add_window(trace, sink)?;
    let window_end = span.seek_frames + span.segment_frames;
    let (mut dropped, mut looped) = (Vec::new(), None);
    let mut cut = WindowSegments::none(window_end);
    if silent {
        dropped.extend(guard.as_ref().and_then(|_| guards::silent(span, &result)));
    } else {
        looped = guard
            .as_ref()
            .and_then(|_| cut_loop(recording.tokenizer, &mut result));
        cut = segments_from_tokens(recording.tokenizer, span, &result);
        if recording.asked.word_timestamps && !words.add(recording, span, &result, &mut cut) {
            return Ok(cut.next_seek_frames);
        }
    }
    let has_looped = looped.is_some();
    if let Some(guard) = guard {
        guard.sorted_out(span, looped, &mut cut, &mut dropped);
        let range = span.seek_frames..cut.next_seek_frames;
        let mut rescues = VecDeque::from(guard.rescues(range, &cut.segments));
        while let Some(rescue) = rescues.pop_front() {
            rescue.submit(recording, 0, decoder)?;
            let (_, result) = decoder.next_result()?;
            let found = guard.found(recording, rescue, result, &mut dropped);
            rescues.extend(guard.rest(rescue, &found));
            cut.segments.extend(found);
        }
        cut.segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    }
    if silent && cut.segments.is_empty() {
        recording.add_dropped(dropped, sink)?;
        return Ok(window_end);
    }
    clear_empty(&mut cut.segments);
    content.label(span, &mut cut.segments);
    let tokens = cut.segments.iter().flat_map(|segment| &segment.tokens);
    let condition = recording.asked.condition_on_previous_text;
    recording
        .history
        .close_window(tokens, condition, result.temperature);
    if has_looped {
        recording.history.forget();
    }
    for segment in cut.segments {
        recording.add_segment(segment, sink)?;
    }
    recording.add_dropped(dropped, sink)?;
    Ok(cut.next_seek_frames)
}
