//! The engine as a client of its batcher: one recording's windows on their way there and back.

use std::ops::Range;

use super::Engine;
use crate::batcher::{AlignmentHeads, Cancel, Inbox, WindowJob};
use crate::decoding::DecodingResult;
use crate::dims::N_FRAMES;
use crate::error::Result;
use crate::longform::{DecodeWindows, WindowRequest};
use crate::mel::LogMel;
use crate::options::{DecodingOptions, Gates};
use crate::transcript::LanguageProbabilities;

/// One recording's windows on their way to the batcher and back.
pub(super) struct Client<'a> {
    engine: &'a Engine,
    mel: &'a LogMel,
    cancel: &'a Cancel,
    source: u64,
    /// Where the results of windows that are decoded side by side arrive.
    inbox: Inbox,
    /// What word times need.
    align: Option<AlignmentHeads>,
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
            align: words.then(|| engine.0.alignment_heads.clone()),
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

    fn window_job(&self, window: WindowRequest<'_>) -> WindowJob {
        let mut mel = vec![0.0; self.mel.n_mels() * N_FRAMES];
        self.mel
            .write_window(window.seek_frames, window.segment_frames, &mut mel);
        self.job(mel, window.options.clone(), window.gates.clone())
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
