//! What both long forms keep of a recording on its way, and what they ask of a decoder.

use crate::decoding::DecodingResult;
use crate::error::Result;
use crate::longform::content::{Content, LanguageRun};
use crate::longform::coverage::told_uncovered;
use crate::longform::prompt::{History, leading_tokens};
use crate::longform::segments::WindowSpan;
use crate::options::{DecodingOptions, Gates, TranscribeOptions};
use crate::tokenizer::Tokenizer;
use crate::transcript::{Dropped, Segment, SegmentSink, Transcript, WindowTrace};

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

/// Decodes windows side by side, temperature fallback included.
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
}

/// A recording on its way, whole or part by part: what is asked for and what is known so far.
pub struct Recording<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) asked: TranscribeOptions,
    /// Every window's options; prompt and seed change.
    pub(super) options: DecodingOptions,
    pub(super) history: History,
    /// Of the part that is on its way.
    pub(super) transcript: Transcript,
    /// Segments of the parts before it.
    earlier: usize,
}

impl<'a> Recording<'a> {
    /// Before the first window, whose prompt is the initial one. The language is set; `n_text_ctx` are the
    /// model's decoder positions.
    #[must_use]
    pub fn new(tokenizer: &'a Tokenizer, asked: TranscribeOptions, n_text_ctx: usize) -> Self {
        let initial = asked.initial_prompt.as_deref();
        let history = History::new(tokenizer, initial, asked.carry_initial_prompt, n_text_ctx);
        let mut options = asked.decoding.clone();
        options.prompt = history.prompt();
        if let Some(prefix) = asked.prefix.as_deref() {
            options.prefix = leading_tokens(tokenizer, prefix);
        }
        if let Some(hotwords) = asked.hotwords.as_deref() {
            options.hotwords = leading_tokens(tokenizer, hotwords);
        }
        let language = options.language.clone().unwrap_or_else(|| "en".into());
        let transcript = Transcript {
            language,
            ..Transcript::default()
        };
        Self {
            tokenizer,
            asked,
            options,
            history,
            transcript,
            earlier: 0,
        }
    }

    /// What a part gave, behind its last window. The next goes on with the text before it and the segments' numbers.
    pub(super) fn end_part(
        &mut self,
        content: &Content,
        sink: &mut dyn SegmentSink,
    ) -> Result<Transcript> {
        let uncovered = told_uncovered(content, &self.asked, &self.transcript);
        self.add_dropped(uncovered, sink)?;
        let next = Transcript {
            language: self.transcript.language.clone(),
            ..Transcript::default()
        };
        let mut part = std::mem::replace(&mut self.transcript, next);
        self.earlier += part.segments.len();
        let tokens = part.segments.iter().flat_map(|segment| &segment.tokens);
        part.text = self.tokenizer.decode(&tokens.copied().collect::<Vec<_>>());
        Ok(part)
    }

    /// What follows is of this language. Text of another says nothing about it.
    pub(super) fn speak(&mut self, run: Option<&LanguageRun>) {
        if let Some(run) = run
            && self.options.language.as_deref() != Some(run.language.as_str())
        {
            self.options.language = Some(run.language.clone());
            self.history.forget();
        }
    }

    /// A window's request, with a seed of its own.
    pub(super) fn request(&mut self, span: WindowSpan) -> WindowRequest<'_> {
        let seed = self.asked.decoding.seed;
        self.options.seed = seed.wrapping_add(span.seek_frames as u64);
        WindowRequest {
            seek_frames: span.seek_frames,
            segment_frames: span.segment_frames,
            options: &self.options,
            gates: &self.asked.gates,
        }
    }

    /// Hands on what was dropped.
    pub(super) fn add_dropped(
        &mut self,
        dropped: Vec<Dropped>,
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        for dropped in dropped {
            sink.dropped(&dropped)?;
            self.transcript.dropped.push(dropped);
        }
        Ok(())
    }

    /// Hands on how a window was decoded.
    pub(super) fn add_window(
        &mut self,
        trace: WindowTrace,
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        sink.window(&trace)?;
        self.transcript.windows.push(trace);
        Ok(())
    }

    /// Hands on the next segment.
    pub(super) fn add_segment(
        &mut self,
        mut segment: Segment,
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        segment.id = self.earlier + self.transcript.segments.len();
        sink.segment(&segment)?;
        self.transcript.segments.push(segment);
        Ok(())
    }
}
