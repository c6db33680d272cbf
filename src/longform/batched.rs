//! Windows side by side: a recording is cut at quiet places first, then decoded window by window in
//! any order, without one knowing what another says, and joined in order.

use std::collections::VecDeque;

use crate::decoding::DecodingResult;
use crate::decoding::fallback::is_silent;
use crate::dims::FRAMES_PER_SECOND;
use crate::error::{Error, Result};
use crate::longform::clips::seek_clips;
use crate::longform::cuts::windows_at_quiet_places;
use crate::longform::prompt::{History, prefix_tokens};
use crate::longform::segments::{WindowSpan, clear_empty, segments_from_tokens};
use crate::longform::sequential::WindowRequest;
use crate::options::{DecodingOptions, TranscribeOptions};
use crate::tokenizer::Tokenizer;
use crate::transcript::{Segment, SegmentSink, Transcript};

/// Windows that wait for a slot beside those that are decoded, so that no slot waits for them.
const AHEAD: usize = 2;
/// What is left of a window behind its last closed segment, and was given no text, is looked at
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
/// whose last segment is not closed is decoded again from where the last closed one ended, so that
/// its tail is not lost. Segments end within their window, and times never decrease.
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
    while recording.joined < recording.windows.len() {
        while recording.under_way < at_once && recording.submitted < recording.windows.len() {
            recording.submitted += 1;
            recording.submit(recording.submitted - 1, decoder)?;
        }
        let (id, result) = decoder.next_result()?;
        recording.under_way -= 1;
        recording.take(id, &result, decoder)?;
        recording.join(sink)?;
        report(recording.done_frames as f64 / FRAMES_PER_SECOND as f64);
    }
    let tokens = recording.transcript.segments.iter().flat_map(|segment| &segment.tokens);
    let text = tokenizer.decode(&tokens.copied().collect::<Vec<_>>());
    Ok(Transcript { text, ..recording.transcript })
}

/// A recording on its way: its windows and what is known of each.
struct Recording<'a> {
    tokenizer: &'a Tokenizer,
    asked: &'a TranscribeOptions,
    /// Every window's options but for the seed.
    options: DecodingOptions,
    windows: Vec<Window>,
    /// Windows handed over so far; they are in order.
    submitted: usize,
    /// Windows whose results are still to come.
    under_way: usize,
    /// Windows whose segments have reached the sink.
    joined: usize,
    done_frames: usize,
    transcript: Transcript,
}

struct Window {
    /// What is to be decoded, or being decoded: at first all of the window.
    span: WindowSpan,
    segments: VecDeque<Segment>,
    is_closed: bool,
}

impl Window {
    fn end_frames(&self) -> usize {
        self.span.seek_frames + self.span.segment_frames
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
        let spans = clips.into_iter().flat_map(|clip| windows_at_quiet_places(clip, loudness));
        let window = |span| Window { span, segments: VecDeque::new(), is_closed: false };
        let language = asked.decoding.language.clone().unwrap_or_else(|| "en".into());
        Self {
            tokenizer,
            asked,
            options,
            windows: spans.map(window).collect(),
            submitted: 0,
            under_way: 0,
            joined: 0,
            done_frames: 0,
            transcript: Transcript { language, ..Transcript::default() },
        }
    }

    /// Hands over what is left of a window.
    fn submit(&mut self, id: usize, decoder: &mut dyn DecodeWindows) -> Result<()> {
        let WindowSpan { seek_frames, segment_frames } = self.windows[id].span;
        self.options.seed = self.asked.decoding.seed.wrapping_add(seek_frames as u64);
        let (options, gates) = (&self.options, &self.asked.gates);
        self.under_way += 1;
        decoder.submit(id, WindowRequest { seek_frames, segment_frames, options, gates })
    }

    /// Takes a result in: the window is closed, or its rest is handed over again.
    fn take(
        &mut self,
        id: usize,
        result: &DecodingResult,
        decoder: &mut dyn DecodeWindows,
    ) -> Result<()> {
        let Some(window) = self.windows.get_mut(id).filter(|window| !window.is_closed) else {
            return Err(Error::Engine(format!("an answer for window {id}, which is not under way")));
        };
        let (span, end_frames) = (window.span, window.end_frames());
        let mut next = end_frames;
        if !is_silent(result, &self.asked.gates) {
            let mut cut = segments_from_tokens(self.tokenizer, span, result);
            clear_empty(&mut cut.segments);
            window.segments.extend(cut.segments);
            next = rest_of(cut.next_seek_frames.min(end_frames)..end_frames, result, self.tokenizer);
        }
        self.done_frames += next - span.seek_frames;
        if next == end_frames {
            window.is_closed = true;
            return Ok(());
        }
        window.span = WindowSpan { seek_frames: next, segment_frames: end_frames - next };
        self.submit(id, decoder)
    }

    /// Hands on the segments of all closed windows that have only closed ones before them.
    fn join(&mut self, sink: &mut dyn SegmentSink) -> Result<()> {
        while let Some(window) = self.windows.get_mut(self.joined).filter(|w| w.is_closed) {
            let end_s = window.end_frames() as f64 / FRAMES_PER_SECOND as f64;
            for mut segment in std::mem::take(&mut window.segments) {
                let earlier_s = self.transcript.segments.last().map(|last| last.end);
                let earlier_s = earlier_s.filter(|_| !self.goes_back(&segment));
                segment.id = self.transcript.segments.len();
                segment.start = segment.start.min(end_s).max(earlier_s.unwrap_or(0.0));
                segment.end = segment.end.min(end_s).max(segment.start);
                sink.segment(&segment)?;
                self.transcript.segments.push(segment);
            }
            self.joined += 1;
        }
        Ok(())
    }

    /// Whether a segment's clip lies before the one of the last segment: clips may come in any order.
    fn goes_back(&self, segment: &Segment) -> bool {
        self.transcript.segments.last().is_some_and(|last| segment.seek < last.seek)
    }
}

/// Where the part of a window begins that is to be decoded again, given what its closed segments
/// left over; its end where nothing is.
fn rest_of(
    rest: std::ops::Range<usize>,
    result: &DecodingResult,
    tokenizer: &Tokenizer,
) -> usize {
    let is_open = result.tokens.last().is_some_and(|token| *token < tokenizer.timestamp_begin());
    if is_open || rest.len() >= LEAST_REST_FRAMES { rest.start } else { rest.end }
}
