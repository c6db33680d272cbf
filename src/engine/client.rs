//! The engine as a client of its batcher: one recording's windows on their way there and back.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::journal::{Journal, Key, key};
use super::{Control, Engine};
use crate::batcher::{AlignWay, AlignWords, Cancel, Inbox, WindowJob};
use crate::decoding::{Alignment, DecodingResult, bias};
use crate::dims::N_FRAMES;
use crate::error::{Error, Result};
use crate::longform::{DecodeWindows, WindowRequest, words_of};
use crate::mel::LogMel;
use crate::options::{DecodingOptions, Gates, TranscribeOptions};
use crate::ranking::Bias;
use crate::tokenizer::Tokenizer;
use crate::transcript::LanguageProbabilities;

/// Tokens before a text that is aligned, at most, and behind it.
const AROUND_TEXT: usize = 5;

/// One recording's windows on their way to the batcher and back.
pub(super) struct Client<'a> {
    engine: &'a Engine,
    mel: Arc<LogMel>,
    cancel: &'a Cancel,
    source: u64,
    /// Where the results of windows that are decoded side by side arrive.
    inbox: Inbox,
    /// What word times need.
    align: Option<AlignWords>,
    journal: Option<Journal>,
    /// Results that the journal has.
    known: VecDeque<(usize, DecodingResult)>,
    /// Keys of the windows under way whose results the journal is to have.
    asked: HashMap<usize, Key>,
    /// Phrases to expect.
    bias: Option<Arc<Bias>>,
}

impl<'a> Client<'a> {
    /// A source of its own among those that share the batcher.
    ///
    /// # Errors
    /// A journal that cannot be opened, heads that the model does not have.
    pub fn new(
        engine: &'a Engine,
        mel: Arc<LogMel>,
        control: &'a Control,
        options: &TranscribeOptions,
    ) -> Result<Self> {
        let journal = control.journal.as_deref();
        let identity = || format!("{} {:?}", engine.identity(), options.phrases);
        let journal = journal.map(|path| Journal::open(path, &identity()));
        Ok(Self {
            engine,
            mel,
            cancel: &control.cancel,
            source: engine.next_source(),
            inbox: Inbox::default(),
            align: match options.word_timestamps {
                true => Some(engine.align_words(&options.alignment_heads)?),
                false => None,
            },
            journal: journal.transpose()?,
            known: VecDeque::new(),
            asked: HashMap::new(),
            bias: bias(&engine.0.tokenizer, &options.phrases),
        })
    }

    /// From here on windows are of this spectrogram: the recording's next part.
    pub fn hear(&mut self, mel: Arc<LogMel>) {
        self.mel = mel;
    }

    /// Every language's probability in a range of frames.
    pub fn language_of(&self, range: Range<usize>) -> Result<LanguageProbabilities> {
        let job = self.job(
            self.mel.detection_window(range)?,
            DecodingOptions::default(),
            Gates::default(),
        );
        let Some(journal) = &self.journal else {
            return self.engine.0.batcher.detect_language(job);
        };
        let key = key(&job, "language")?;
        if let Some(known) = journal.language(&key) {
            return Ok(known.clone());
        }
        let found = self.engine.0.batcher.detect_language(job)?;
        journal.add_language(key, &found)?;
        Ok(found)
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
            bias: self.bias.clone(),
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
        })?;
        if let Some(align) = &mut job.align {
            align.way = AlignWay::Given(tokens.into());
        }
        Ok(self.engine.0.batcher.decode(job)?.alignment)
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.engine.0.tokenizer
    }

    fn window_job(&self, window: WindowRequest<'_>) -> Result<WindowJob> {
        let mut mel = vec![0.0; self.mel.n_mels() * N_FRAMES];
        self.mel
            .write_window(window.seek_frames, window.segment_frames, &mut mel)?;
        let mut job = self.job(mel, window.options.clone(), window.gates.clone());
        if let Some(align) = &mut job.align {
            align.positions = window.segment_frames / 2;
        }
        Ok(job)
    }
}

impl DecodeWindows for Client<'_> {
    fn submit(&mut self, id: usize, window: WindowRequest<'_>) -> Result<()> {
        let job = self.window_job(window)?;
        if let Some(journal) = &self.journal {
            let key = key(&job, "window")?;
            if let Some(known) = journal.window(&key) {
                self.known.push_back((id, known.into()));
                return Ok(());
            }
            self.asked.insert(id, key);
        }
        self.engine.0.batcher.submit(job, id, &self.inbox)
    }

    fn next_result(&mut self) -> Result<(usize, DecodingResult)> {
        if let Some(known) = self.known.pop_front() {
            return match self.cancel.is_cancelled() {
                true => Err(Error::Cancelled),
                false => Ok(known),
            };
        }
        let (id, mut result) = self.inbox.next()?;
        if let (Some(journal), Some(key)) = (&self.journal, self.asked.remove(&id)) {
            result.words = words_of(&self.engine.0.tokenizer, &result);
            journal.add_window(key, (&result).into())?;
        }
        Ok((id, result))
    }
}
