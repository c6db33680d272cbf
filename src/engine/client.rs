//! The engine as a client of its batcher: one recording's windows on their way there and back.

use std::ops::Range;

use super::Engine;
use crate::batcher::{AlignWay, AlignWords, Cancel, Inbox, WindowJob};
use crate::decoding::{Alignment, DecodingResult};
use crate::dims::N_FRAMES;
use crate::error::Result;
use crate::longform::{DecodeWindows, WindowRequest};
use crate::mel::LogMel;
use crate::options::{DecodingOptions, Gates};
use crate::tokenizer::Tokenizer;
use crate::transcript::LanguageProbabilities;

/// Tokens before a text that is aligned, at most, and behind it.
const AROUND_TEXT: usize = 5;

/// One recording's windows on their way to the batcher and back.
pub(super) struct Client<'a> {
    engine: &'a Engine,
    mel: &'a LogMel,
    cancel: &'a Cancel,
    source: u64,
    /// Where the results of windows that are decoded side by side arrive.
    inbox: Inbox,
    /// What word times need.
    align: Option<AlignWords>,
}

impl<'a> Client<'a> {
    /// A source of its own among those that share the batcher.
    pub fn new(engine: &'a Engine, mel: &'a LogMel, cancel: &'a Cancel, words: bool) -> Self {
        Self {
            engine,
            mel,
            cancel,
            source: engine.next_source(),
            inbox: Inbox::default(),
            align: words.then(|| engine.align_words()),
        }
    }

    /// Every language's probability in a range of frames.
    pub fn language_of(&self, range: Range<usize>) -> Result<LanguageProbabilities> {
        let job = self.job(
            self.mel.detection_window(range),
            DecodingOptions::default(),
            Gates::default(),
        );
        self.engine.0.batcher.detect_language(job)
    }

    fn job(&self, mel: Vec<f32>, options: DecodingOptions, gates: Gates) -> WindowJob {
        let cancel = self.cancel.clone();
        WindowJob {
            mel,
            options,
            gates,
            source: self.source,
            cancel,
            align: self.align.clone(),
        }
    }

    /// Aligns given tokens with a stretch of the recording; none where they are more than fit a window.
    pub fn align(
        &self,
        seek_frames: usize,
        segment_frames: usize,
        options: &DecodingOptions,
        tokens: Vec<u32>,
    ) -> Result<Option<Box<Alignment>>> {
        if tokens.len() + AROUND_TEXT > self.engine.network().dims().n_text_ctx {
            return Ok(None);
        }
        let gates = Gates::default();
        let mut job = self.window_job(WindowRequest {
            seek_frames,
            segment_frames,
            options,
            gates: &gates,
        });
        if let Some(align) = &mut job.align {
            align.way = AlignWay::Given(tokens.into());
        }
        Ok(self.engine.0.batcher.decode(job)?.alignment)
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.engine.0.tokenizer
    }

    fn window_job(&self, window: WindowRequest<'_>) -> WindowJob {
        let mut mel = vec![0.0; self.mel.n_mels() * N_FRAMES];
        self.mel
            .write_window(window.seek_frames, window.segment_frames, &mut mel);
        let mut job = self.job(mel, window.options.clone(), window.gates.clone());
        if let Some(align) = &mut job.align {
            align.positions = window.segment_frames / 2;
        }
        job
    }
}

impl DecodeWindows for Client<'_> {
    fn submit(&mut self, id: usize, window: WindowRequest<'_>) -> Result<()> {
        self.engine
            .0
            .batcher
            .submit(self.window_job(window), id, &self.inbox)
    }

    fn next_result(&mut self) -> Result<(usize, DecodingResult)> {
        self.inbox.next()
    }

    fn n_text_ctx(&self) -> usize {
        self.engine.network().dims().n_text_ctx
    }
}
