//! openai/whisper's `transcribe()`: one window after the other, each starting where the last
//! segment before it ended.

use std::ops::Range;
use std::time::Instant;

use crate::decoding::DecodingResult;
use crate::dims::{FRAMES_PER_SECOND, N_FRAMES};
use crate::error::Result;
use crate::longform::clips::seek_clips;
use crate::longform::prompt::{History, prefix_tokens};
use crate::longform::segments::{WindowSpan, clear_empty, segments_from_tokens};
use crate::longform::trace::trace;
use crate::options::{DecodingOptions, Gates, TranscribeOptions};
use crate::tokenizer::Tokenizer;
use crate::transcript::{SegmentSink, Transcript};

/// A window to decode.
#[derive(Clone, Copy, Debug)]
pub struct WindowRequest<'a> {
    /// Mel frame at which the window starts.
    pub seek_frames: usize,
    /// Mel frames of content; what is missing to a whole window is padded with zeros.
    pub segment_frames: usize,
    /// Language, prompt and seed are set; the temperature comes from the gates.
    pub options: &'a DecodingOptions,
    /// Temperatures to try, and what makes a result fail.
    pub gates: &'a Gates,
}

/// Decodes windows, temperature fallback included.
pub trait DecodeWindow {
    /// Decodes one window and waits for the result.
    ///
    /// # Errors
    /// Whatever stops the recording.
    fn decode(&mut self, window: WindowRequest<'_>) -> Result<DecodingResult>;

    /// Decoder positions of the model; every published Whisper has 448.
    fn n_text_ctx(&self) -> usize {
        448
    }
}

impl<F: FnMut(WindowRequest<'_>) -> Result<DecodingResult>> DecodeWindow for F {
    fn decode(&mut self, window: WindowRequest<'_>) -> Result<DecodingResult> {
        self(window)
    }
}

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
    decoder: &mut dyn DecodeWindow,
    sink: &mut dyn SegmentSink,
    report: &mut dyn FnMut(f64),
) -> Result<Transcript> {
    let mut recording = Recording::new(tokenizer, options, decoder.n_text_ctx());
    for clip in seek_clips(&options.clip_timestamps, content_frames) {
        let mut seek_frames = clip.start;
        while seek_frames < clip.end {
            seek_frames = recording.window(window_span(seek_frames..clip.end), decoder, sink)?;
            report(seek_frames.min(content_frames) as f64 / FRAMES_PER_SECOND as f64);
        }
    }
    let text = tokenizer.decode(recording.history.spoken());
    Ok(Transcript {
        text,
        ..recording.transcript
    })
}

/// A recording on its way: what is asked for and what is known so far.
struct Recording<'a> {
    tokenizer: &'a Tokenizer,
    asked: &'a TranscribeOptions,
    /// The next window's options.
    options: DecodingOptions,
    history: History,
    transcript: Transcript,
}

impl<'a> Recording<'a> {
    fn new(tokenizer: &'a Tokenizer, asked: &'a TranscribeOptions, n_text_ctx: usize) -> Self {
        let mut options = asked.decoding.clone();
        if let Some(prefix) = asked.prefix.as_deref() {
            options.prefix = prefix_tokens(tokenizer, prefix);
        }
        let initial = asked.initial_prompt.as_deref();
        let history = History::new(tokenizer, initial, asked.carry_initial_prompt, n_text_ctx);
        let language = asked
            .decoding
            .language
            .clone()
            .unwrap_or_else(|| "en".into());
        let transcript = Transcript {
            language,
            ..Default::default()
        };
        Self {
            tokenizer,
            asked,
            options,
            history,
            transcript,
        }
    }

    /// Decodes one window and closes it; gives the frame at which the next one starts.
    fn window(
        &mut self,
        span: WindowSpan,
        decoder: &mut dyn DecodeWindow,
        sink: &mut dyn SegmentSink,
    ) -> Result<usize> {
        let WindowSpan {
            seek_frames,
            segment_frames,
        } = span;
        let TranscribeOptions {
            decoding,
            gates,
            condition_on_previous_text,
            ..
        } = self.asked;
        self.options.prompt = self.history.prompt();
        self.options.seed = decoding.seed.wrapping_add(seek_frames as u64);
        let options = &self.options;
        let started = Instant::now();
        let result = decoder.decode(WindowRequest {
            seek_frames,
            segment_frames,
            options,
            gates,
        })?;
        let trace = trace(span, &result, gates, started.elapsed());
        sink.window(&trace)?;
        let silent = trace.silent;
        self.transcript.windows.push(trace);
        if silent {
            return Ok(seek_frames + segment_frames);
        }
        let mut cut = segments_from_tokens(self.tokenizer, span, &result);
        // Word times go here: they move segment times and may move the next window.
        clear_empty(&mut cut.segments);
        let tokens = cut.segments.iter().flat_map(|segment| &segment.tokens);
        self.history
            .close_window(tokens, *condition_on_previous_text, result.temperature);
        for mut segment in cut.segments {
            segment.id = self.transcript.segments.len();
            sink.segment(&segment)?;
            self.transcript.segments.push(segment);
        }
        Ok(cut.next_seek_frames)
    }
}

/// The next window of a clip: 30 s, or what is left of the clip.
fn window_span(left: Range<usize>) -> WindowSpan {
    WindowSpan {
        seek_frames: left.start,
        segment_frames: N_FRAMES.min(left.end - left.start),
    }
}
