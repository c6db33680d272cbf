//! Cutting a window's tokens into segments, and deciding where the next window starts.

use crate::decoding::{DecodingResult, strip};
use crate::dims::{FRAMES_PER_SECOND, INPUT_STRIDE, TIME_PRECISION_S};
use crate::tokenizer::Tokenizer;
use crate::transcript::Segment;

/// Where a window lies in the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpan {
    /// Mel frame at which it starts.
    pub seek_frames: usize,
    /// Mel frames of content in it; the rest of the window is padding.
    pub segment_frames: usize,
}

/// What one window gives.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSegments {
    /// The segments, all with id 0 for now.
    pub segments: Vec<Segment>,
    /// Mel frame at which the next window starts; always later than this one's.
    pub next_seek_frames: usize,
    /// Whether the window ends with a timestamp behind text: nothing is spoken after it.
    pub single_timestamp_ending: bool,
}

impl WindowSegments {
    /// Of a window that says nothing.
    pub fn none(next_seek_frames: usize) -> Self {
        Self {
            segments: Vec::new(),
            next_seek_frames,
            single_timestamp_ending: false,
        }
    }
}

/// Cuts a decoded window at its pairs of timestamps. Text behind the last pair is left to the next
/// window, which starts there; without a pair, or with a closing timestamp at the end, the whole
/// window is used up. Times may lie past the end of the audio.
#[must_use]
pub fn segments_from_tokens(
    tokenizer: &Tokenizer,
    span: WindowSpan,
    result: &DecodingResult,
) -> WindowSegments {
    let kinds = result.tokens.iter().map(|t| tokenizer.is_timestamp(*t));
    let is_timestamp: Vec<bool> = kinds.collect();
    let single_timestamp_ending = is_timestamp.ends_with(&[false, true]);
    let mut cuts: Vec<usize> = (1..is_timestamp.len())
        .filter(|i| is_timestamp[i - 1] && is_timestamp[*i])
        .collect();
    let end = span.seek_frames + span.segment_frames;
    let (segments, next_seek_frames) = if cuts.is_empty() {
        (vec![whole_window(tokenizer, span, result)], end)
    } else if single_timestamp_ending {
        cuts.push(result.tokens.len());
        (between_cuts(tokenizer, span, result, &cuts), end)
    } else {
        let closing = cuts
            .last()
            .map_or(0, |cut| position(tokenizer, result.tokens[cut - 1]));
        let seek_frames = span.seek_frames + closing * INPUT_STRIDE;
        // Sampling without timestamp rules can close a segment at 0, which would never end.
        let next = if seek_frames > span.seek_frames {
            seek_frames
        } else {
            end
        };
        (between_cuts(tokenizer, span, result, &cuts), next)
    };
    WindowSegments {
        segments,
        next_seek_frames,
        single_timestamp_ending,
    }
}

fn between_cuts(
    tokenizer: &Tokenizer,
    span: WindowSpan,
    result: &DecodingResult,
    cuts: &[usize],
) -> Vec<Segment> {
    let offset_s = seconds(span.seek_frames);
    let time_s = |token: u32| offset_s + position(tokenizer, token) as f64 * TIME_PRECISION_S;
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let slices = starts
        .zip(cuts)
        .map(|(start, cut)| &result.tokens[start..*cut]);
    slices
        .filter_map(|tokens| {
            let (first, last) = (*tokens.first()?, *tokens.last()?);
            Some(segment(
                tokenizer,
                span,
                result,
                tokens,
                time_s(first)..time_s(last),
            ))
        })
        .collect()
}

fn whole_window(tokenizer: &Tokenizer, span: WindowSpan, result: &DecodingResult) -> Segment {
    let offset_s = seconds(span.seek_frames);
    let mut from_end = result.tokens.iter().rev();
    let last_timestamp = from_end.find(|t| tokenizer.is_timestamp(**t));
    let duration_s = match last_timestamp {
        Some(token) if *token != tokenizer.timestamp_begin() => {
            position(tokenizer, *token) as f64 * TIME_PRECISION_S
        }
        _ => seconds(span.segment_frames),
    };
    segment(
        tokenizer,
        span,
        result,
        &result.tokens,
        offset_s..offset_s + duration_s,
    )
}

fn segment(
    tokenizer: &Tokenizer,
    span: WindowSpan,
    result: &DecodingResult,
    tokens: &[u32],
    times_s: std::ops::Range<f64>,
) -> Segment {
    let text: Vec<u32> = tokens
        .iter()
        .copied()
        .filter(|t| tokenizer.is_text(*t))
        .collect();
    Segment {
        id: 0,
        seek: span.seek_frames,
        start: times_s.start,
        end: times_s.end,
        text: tokenizer.decode(&text),
        tokens: tokens.to_vec(),
        temperature: result.temperature,
        avg_logprob: result.avg_logprob,
        compression_ratio: result.compression_ratio,
        no_speech_prob: result.no_speech_prob,
        ..Segment::default()
    }
}

/// Timestamp steps from the window's start; 0 for what is no timestamp.
fn position(tokenizer: &Tokenizer, token: u32) -> usize {
    if tokenizer.is_timestamp(token) {
        (token - tokenizer.timestamp_begin()) as usize
    } else {
        0
    }
}

fn seconds(frames: usize) -> f64 {
    frames as f64 / FRAMES_PER_SECOND as f64
}

/// Empties segments without duration or without text: they stay in the list, but say nothing and
/// are not part of later prompts.
pub fn clear_empty(segments: &mut [Segment]) {
    for segment in segments {
        if segment.start == segment.end || strip(&segment.text).is_empty() {
            segment.text.clear();
            segment.tokens.clear();
            segment.words = Some(Vec::new());
        }
    }
}
