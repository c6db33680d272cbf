//! Windows side by side: a recording is cut into stretches at quiet places, which are decoded side by
//! side, each window by window, without one window knowing what another says, and joined in order.
//!
//! A cut costs: nobody said that the speaker would pause between sentences where it is, and what is
//! left open there is decoded a second time. So a long recording, which has stretches for everybody
//! anyway, is cut into longer ones than single windows.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::decoding::DecodingResult;
use crate::dims::{FRAMES_PER_SECOND, N_FRAMES};
use crate::error::{Error, Result};
use crate::longform::clips::seek_clips;
use crate::longform::cuts::stretches_at_quiet_places;
use crate::longform::prompt::{History, prefix_tokens};
use crate::longform::segments::{WindowSpan, clear_empty, segments_from_tokens};
use crate::longform::sequential::WindowRequest;
use crate::longform::trace::trace;
use crate::options::{DecodingOptions, TranscribeOptions};
use crate::tokenizer::Tokenizer;
use crate::transcript::{Segment, SegmentSink, Transcript, WindowTrace};

/// Windows that wait for a slot beside those that are decoded, so that no slot waits for them.
const AHEAD: usize = 2;
/// What is left of a stretch behind its last closed segment, and was given no text, is looked at
/// again if it is at least this long: there is no room for a word in less.
const LEAST_REST_FRAMES: usize = 50;

/// Decodes many windows side by side, temperature fallback included.
pub trait DecodeWindows {
    /// Hands over a window to decode; its result comes under `id`.
    ///
    /// # Errors
    /// Whatever stops the recording.
    fn submit(&mut self, id: usize, window: WindowRequest<'_>) -> Result<()>;

    /// Waits for the next result, in whatever order they are ready.
    ///
    /// # Errors
    /// Whatever stops the recording.
    fn next_result(&mut self) -> Result<(usize, DecodingResult)>;

    /// Decoder positions of the model; every published Whisper has 448.
    fn n_text_ctx(&self) -> usize {
        448
    }
}

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
    loudness: &[f32],
    tokenizer: &Tokenizer,
    options: &TranscribeOptions,
    decoder: &mut dyn DecodeWindows,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let mut recording = Recording::new(loudness, tokenizer, options, decoder.n_text_ctx());
    let at_once = options.batch_size.unwrap_or(1).max(1) + AHEAD;
    while recording.joined < recording.stretches.len() {
        while recording.under_way < at_once && recording.submitted < recording.stretches.len() {
            recording.submitted += 1;
            recording.submit(recording.submitted - 1, decoder)?;
        }
        let (id, result) = decoder.next_result()?;
        recording.under_way -= 1;
        recording.take(id, &result, decoder)?;
        recording.join(sink)?;
        report(recording.done_frames as f64 / FRAMES_PER_SECOND as f64);
    }
    let tokens = recording
        .transcript
        .segments
        .iter()
        .flat_map(|segment| &segment.tokens);
    let text = tokenizer.decode(&tokens.copied().collect::<Vec<_>>());
    Ok(Transcript {
        text,
        ..recording.transcript
    })
}

/// A recording on its way: its stretches and what is known of each.
struct Recording<'a> {
    tokenizer: &'a Tokenizer,
    asked: &'a TranscribeOptions,
    /// Every window's options but for the seed.
    options: DecodingOptions,
    stretches: Vec<Stretch>,
    /// Stretches begun so far; they are in order.
    submitted: usize,
    /// Stretches with a window whose result is still to come.
    under_way: usize,
    /// Stretches whose segments have all reached the sink.
    joined: usize,
    done_frames: usize,
    transcript: Transcript,
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
            submitted: Instant::now(),
        }
    }

    fn is_closed(&self) -> bool {
        self.seek_frames >= self.end_frames
    }

    /// Its present window: 30 s, or what is left.
    fn span(&self) -> WindowSpan {
        let segment_frames = N_FRAMES.min(self.end_frames - self.seek_frames);
        WindowSpan {
            seek_frames: self.seek_frames,
            segment_frames,
        }
    }
}

impl<'a> Recording<'a> {
    fn new(
        loudness: &[f32],
        tokenizer: &'a Tokenizer,
        asked: &'a TranscribeOptions,
        n_text_ctx: usize,
    ) -> Self {
        let initial = asked.initial_prompt.as_deref();
        let history = History::new(tokenizer, initial, asked.carry_initial_prompt, n_text_ctx);
        let mut options = asked.decoding.clone();
        options.prompt = history.prompt();
        if let Some(prefix) = asked.prefix.as_deref() {
            options.prefix = prefix_tokens(tokenizer, prefix);
        }
        let clips = seek_clips(&asked.clip_timestamps, loudness.len());
        let stretches = clips
            .into_iter()
            .flat_map(|clip| stretches_at_quiet_places(clip, loudness));
        let language = asked
            .decoding
            .language
            .clone()
            .unwrap_or_else(|| "en".into());
        Self {
            tokenizer,
            asked,
            options,
            stretches: stretches.map(Stretch::new).collect(),
            submitted: 0,
            under_way: 0,
            joined: 0,
            done_frames: 0,
            transcript: Transcript {
                language,
                ..Transcript::default()
            },
        }
    }

    /// Hands over a stretch's present window.
    fn submit(&mut self, id: usize, decoder: &mut dyn DecodeWindows) -> Result<()> {
        let stretch = &mut self.stretches[id];
        stretch.submitted = Instant::now();
        let WindowSpan {
            seek_frames,
            segment_frames,
        } = stretch.span();
        self.options.seed = self.asked.decoding.seed.wrapping_add(seek_frames as u64);
        let (options, gates) = (&self.options, &self.asked.gates);
        self.under_way += 1;
        decoder.submit(
            id,
            WindowRequest {
                seek_frames,
                segment_frames,
                options,
                gates,
            },
        )
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
        let (span, end) = (stretch.span(), stretch.end_frames);
        let mut next = span.seek_frames + span.segment_frames;
        let trace = trace(span, result, &self.asked.gates, stretch.submitted.elapsed());
        if !trace.silent {
            let mut cut = segments_from_tokens(self.tokenizer, span, result);
            clear_empty(&mut cut.segments);
            stretch.segments.extend(cut.segments);
            next = cut.next_seek_frames.min(next);
            let is_open = result
                .tokens
                .last()
                .is_some_and(|t| !self.tokenizer.is_timestamp(*t));
            if end - next < LEAST_REST_FRAMES && !is_open {
                next = end;
            }
        }
        stretch.traces.push(trace);
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
                sink.window(&trace)?;
                self.transcript.windows.push(trace);
            }
            for mut segment in std::mem::take(&mut stretch.segments) {
                let earlier_s = self.transcript.segments.last().map(|last| last.end);
                let earlier_s = earlier_s.filter(|_| !self.goes_back(&segment));
                segment.id = self.transcript.segments.len();
                segment.start = segment.start.min(end_s).max(earlier_s.unwrap_or(0.0));
                segment.end = segment.end.min(end_s).max(segment.start);
                sink.segment(&segment)?;
                self.transcript.segments.push(segment);
            }
            if !is_closed {
                break;
            }
            self.joined += 1;
        }
        Ok(())
    }

    /// Whether a segment's clip lies before the one of the last segment: clips may come in any order.
    fn goes_back(&self, segment: &Segment) -> bool {
        self.transcript
            .segments
            .last()
            .is_some_and(|last| segment.seek < last.seek)
    }
}
