//! openai/whisper's `transcribe()`: one window after the other, each starting where the last
//! segment before it ended.

use std::ops::Range;
use std::time::Instant;

use crate::dims::{FRAMES_PER_SECOND, N_FRAMES};
use crate::error::Result;
use crate::longform::clips::seek_clips;
use crate::longform::recording::{DecodeWindows, Recording};
use crate::longform::segments::{WindowSpan, clear_empty, segments_from_tokens};
use crate::longform::trace::trace;
use crate::longform::words::TimedWords;
use crate::options::TranscribeOptions;
use crate::tokenizer::Tokenizer;
use crate::transcript::{SegmentSink, Transcript};

/// Transcribes a recording window by window; segments reach `sink` as their windows close, and
/// `report` the seconds that are behind. The language of `options` is set; the recording has
/// `content_frames` mel frames, padding not counted.
///
/// # Errors
/// Whatever `decoder` or `sink` gives.
pub fn transcribe_sequential(
    content_frames: usize,
    tokenizer: &Tokenizer,
    options: &TranscribeOptions,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let mut recording = Recording::new(tokenizer, options, decoder.n_text_ctx());
    let mut words = TimedWords::new(content_frames);
    for clip in seek_clips(&options.clip_timestamps, content_frames) {
        let mut seek_frames = clip.start;
        while seek_frames < clip.end {
            let span = window_span(seek_frames..clip.end);
            seek_frames = decode_window(&mut recording, &mut words, span, decoder, sink)?;
            report(seek_frames.min(content_frames) as f64 / FRAMES_PER_SECOND as f64);
        }
    }
    let text = tokenizer.decode(recording.history.spoken());
    Ok(Transcript {
        text,
        ..recording.transcript
    })
}

/// Decodes one window and closes it; gives the frame at which the next one starts.
fn decode_window(
    recording: &mut Recording<'_>,
    words: &mut TimedWords,
    span: WindowSpan,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
) -> Result<usize> {
    recording.options.prompt = recording.history.prompt();
    let started = Instant::now();
    decoder.submit(0, recording.request(span))?;
    let (_, result) = decoder.next_result()?;
    let trace = trace(span, &result, &recording.asked.gates, started.elapsed());
    let silent = trace.silent;
    recording.add_window(trace, sink)?;
    if silent {
        return Ok(span.seek_frames + span.segment_frames);
    }
    let mut cut = segments_from_tokens(recording.tokenizer, span, &result);
    if recording.asked.word_timestamps && !words.add(recording, span, &result, &mut cut) {
        return Ok(cut.next_seek_frames);
    }
    clear_empty(&mut cut.segments);
    let tokens = cut.segments.iter().flat_map(|segment| &segment.tokens);
    let condition = recording.asked.condition_on_previous_text;
    recording
        .history
        .close_window(tokens, condition, result.temperature);
    for segment in cut.segments {
        recording.add_segment(segment, sink)?;
    }
    Ok(cut.next_seek_frames)
}

/// The next window of a clip: 30 s, or what is left of the clip.
fn window_span(left: Range<usize>) -> WindowSpan {
    WindowSpan {
        seek_frames: left.start,
        segment_frames: N_FRAMES.min(left.end - left.start),
    }
}
