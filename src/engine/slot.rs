//! One window in the batch: its state, its decoder and the temperature it is at.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::{Answer, WindowJob};
use crate::decoding::fallback;
use crate::decoding::{DecodingResult, Step, WindowDecoder};
use crate::error::Result;
use crate::model::{AudioState, StepWindow, TextState, Whisper};
use crate::tokenizer::Tokenizer;

/// A window while it is decoded.
pub(crate) struct Slot {
    pub job: WindowJob,
    pub reply: Sender<Result<Answer>>,
    audio: Arc<AudioState>,
    text: TextState,
    decoder: WindowDecoder,
    /// Which of the gates' temperatures this is.
    attempt: usize,
    /// The next step's tokens, row after row.
    tokens: Vec<u32>,
    rows: usize,
    logits_at: Vec<usize>,
}

impl Slot {
    /// Starts a window at its first temperature.
    pub fn new(
        model: &Whisper,
        tokenizer: &Arc<Tokenizer>,
        job: WindowJob,
        audio: Arc<AudioState>,
        reply: Sender<Result<Answer>>,
    ) -> std::result::Result<Self, (Sender<Result<Answer>>, crate::error::Error)> {
        let decoder = match decoder_at(model, tokenizer, &job, 0) {
            Ok(decoder) => decoder,
            Err(error) => return Err((reply, error)),
        };
        let text = model.text_state(decoder.group());
        let mut slot = Self {
            job,
            reply,
            audio,
            text,
            decoder,
            attempt: 0,
            tokens: Vec::new(),
            rows: 1,
            logits_at: Vec::new(),
        };
        slot.feed_prompt();
        Ok(slot)
    }

    /// The prompt is fed once, as one row; the beams fork from it.
    fn feed_prompt(&mut self) {
        self.tokens.clear();
        self.tokens.extend_from_slice(self.decoder.prompt());
        self.rows = 1;
        self.logits_at = vec![self.decoder.sot_index(), self.tokens.len() - 1];
        self.logits_at.dedup();
    }

    /// This window's part of the next step.
    pub fn feed(&mut self) -> StepWindow<'_> {
        StepWindow {
            audio: &self.audio,
            text: &mut self.text,
            tokens: &self.tokens,
            rows: self.rows,
            logits_at: &self.logits_at,
        }
    }

    /// How many rows of logits the next step gives this window.
    pub fn wanted(&self) -> usize {
        self.rows * self.logits_at.len()
    }

    /// Takes the step's logits, `(wanted, n_vocab)`. Gives the result once a temperature passes
    /// the gates or none is left.
    pub fn advance(
        &mut self,
        model: &Whisper,
        tokenizer: &Arc<Tokenizer>,
        logits: &[f32],
    ) -> Result<Option<DecodingResult>> {
        let prefill = self.text.len() == self.decoder.prompt().len();
        let step = if prefill {
            let n_vocab = model.dims().n_vocab;
            let last = &logits[logits.len() - n_vocab..];
            self.decoder.start(&logits[..n_vocab], last)
        } else {
            self.decoder.step(logits)
        };
        match step {
            Step::Continue(rows) => {
                self.tokens.clear();
                self.tokens.extend(rows.iter().map(|row| row.token));
                let parents: Vec<usize> = rows.iter().map(|row| row.parent).collect();
                self.rows = rows.len();
                self.text.reorder(&parents);
                self.logits_at.clear();
                self.logits_at.push(0);
                Ok(None)
            }
            Step::Done => self.close_attempt(model, tokenizer),
        }
    }

    fn close_attempt(
        &mut self,
        model: &Whisper,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Option<DecodingResult>> {
        let result = self.decoder.finish();
        let last = self.attempt + 1 == self.job.gates.temperatures.len();
        if last || !fallback::needs_fallback(&result, &self.job.gates) {
            return Ok(Some(result));
        }
        self.attempt += 1;
        self.decoder = decoder_at(model, tokenizer, &self.job, self.attempt)?;
        self.text = model.text_state(self.decoder.group());
        self.feed_prompt();
        Ok(None)
    }
}

fn decoder_at(
    model: &Whisper,
    tokenizer: &Arc<Tokenizer>,
    job: &WindowJob,
    attempt: usize,
) -> Result<WindowDecoder> {
    let options = fallback::at_temperature(&job.options, job.gates.temperatures[attempt]);
    let dims = model.dims();
    WindowDecoder::new(tokenizer.clone(), dims.n_vocab, &options, dims.n_text_ctx)
}
