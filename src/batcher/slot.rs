//! One window in the batch: its state, its decoder and the temperature it is at.

use std::sync::Arc;

use super::aligning::Aligning;
use super::drafting::Draft;
use super::inbox::Reply;
use super::{AlignWay, AlignWords, WatchedHeads, WindowJob};
use crate::decoding::fallback;
use crate::decoding::{DecodingResult, Step, WindowDecoder, loop_in};
use crate::error::{Error, Result};
use crate::model::{AudioState, Network, StepWindow, TextState};
use crate::ranking::Answer;
use crate::timing::closed_text;
use crate::tokenizer::Tokenizer;
use crate::transcript::Attempt;

/// A window while it is decoded.
pub(super) struct Slot {
    pub job: WindowJob,
    pub reply: Reply,
    pub audio: AudioState,
    pub text: TextState,
    pub decoder: WindowDecoder,
    /// Writes ahead while the window is decoded greedily.
    pub draft: Option<Draft>,
    /// End of text.
    pub end: u32,
    /// Which of the gates' temperatures this is.
    attempt: usize,
    /// What the temperatures before it gave.
    failed: Vec<Attempt>,
    /// The next step's tokens, row after row.
    tokens: Vec<u32>,
    rows: usize,
    parents: Vec<usize>,
    /// The window is decoded, and its text is aligned.
    aligning: Option<(Aligning, DecodingResult)>,
}

impl Slot {
    /// Starts a window with `decoder`, which is at its first temperature.
    pub fn new(
        job: WindowJob,
        reply: Reply,
        audio: AudioState,
        text: TextState,
        decoder: WindowDecoder,
        draft: Option<Draft>,
    ) -> Self {
        let mut slot = Self {
            job,
            reply,
            audio,
            text,
            end: decoder.end(),
            decoder,
            draft,
            attempt: 0,
            failed: Vec::new(),
            tokens: Vec::new(),
            rows: 1,
            parents: Vec::new(),
            aligning: None,
        };
        slot.feed_prompt();
        slot
    }

    /// A window's decoder at one of its temperatures.
    pub fn decoder(
        network: &dyn Network,
        tokenizer: &Arc<Tokenizer>,
        job: &WindowJob,
        attempt: usize,
    ) -> Result<WindowDecoder> {
        let temperature = job.gates.temperatures.get(attempt).copied().unwrap_or(0.0);
        let options = fallback::at_temperature(&job.options, temperature);
        let dims = network.dims();
        let decoder =
            WindowDecoder::new(tokenizer.clone(), dims.n_vocab, &options, dims.n_text_ctx)?;
        Ok(decoder.expecting(job.bias.as_ref()))
    }

    /// The prompt is fed once, as one row; the beams fork from it.
    fn feed_prompt(&mut self) {
        self.text.reset(self.decoder.group());
        self.tokens.clear();
        self.tokens.extend_from_slice(self.decoder.prompt());
        self.rows = 1;
    }

    /// Everything that the window begins with and has said, where it goes on greedily.
    pub fn known_greedily(&self) -> Option<Vec<u32>> {
        let sampled = self
            .decoder
            .greedy_row()
            .filter(|_| self.aligning.is_none());
        sampled.map(|sampled| [self.decoder.prompt(), sampled].concat())
    }

    /// Whether it was cancelled, or nobody waits for it.
    pub fn is_cancelled(&self) -> bool {
        self.job.cancel.is_cancelled() || self.reply.is_unwanted()
    }

    /// This window's part of the next step.
    pub fn feed(&mut self) -> StepWindow<'_> {
        let ahead = self.draft.as_ref().map_or(&[][..], Draft::ahead);
        if !ahead.is_empty() {
            self.tokens.truncate(1);
            self.tokens.extend_from_slice(ahead);
        }
        let behind = |at: usize| self.decoder.query_behind(&ahead[..at], at);
        StepWindow {
            audio: &self.audio,
            text: &mut self.text,
            tokens: &self.tokens,
            rows: self.rows,
            queries: match &self.aligning {
                Some((aligning, _)) => aligning.queries(),
                None if !ahead.is_empty() => (0..=ahead.len()).map(behind).collect(),
                None => self.decoder.queries(),
            },
        }
    }

    /// A text that was given is aligned without any decoding.
    ///
    /// # Errors
    /// There is no text, or more than the decoder has room for.
    pub fn align_given(&mut self, network: &dyn Network, tokenizer: &Tokenizer) -> Result<()> {
        let Some(AlignWords {
            heads,
            way: AlignWay::Given(text),
            ..
        }) = self.job.align.clone()
        else {
            return Ok(());
        };
        let (result, tokens) = (self.decoder.finish(), text.len());
        match self.feed_again(network, tokenizer, &heads, text.to_vec(), result) {
            None => Ok(()),
            Some(_) => Err(Error::Engine(format!(
                "{tokens} tokens cannot be aligned in one window"
            ))),
        }
    }

    /// Takes the step's answers; `memory` is to work in. Gives the result once a temperature passes the gates or none is left.
    pub fn advance(
        &mut self,
        network: &dyn Network,
        tokenizer: &Arc<Tokenizer>,
        answers: &[Answer],
        memory: &mut Vec<f32>,
    ) -> Result<Option<DecodingResult>> {
        if let Some((aligning, mut result)) = self.aligning.take() {
            let positions = self.job.align.as_ref().map_or(0, |align| align.positions);
            let used = std::mem::take(memory);
            let weights = network.cross_weights(&self.audio, &self.text, 0, used)?;
            result.alignment = Some(Box::new(aligning.finish(answers, &weights, positions)));
            *memory = weights.weights;
            return Ok(Some(result));
        }
        if self
            .draft
            .as_ref()
            .is_some_and(|draft| !draft.ahead().is_empty())
        {
            return self.judge_draft(network, tokenizer, answers);
        }
        match self.decoder.advance(answers) {
            Step::Continue(rows) => {
                self.tokens.clear();
                self.tokens.extend(rows.iter().map(|row| row.token));
                self.parents.clear();
                self.parents.extend(rows.iter().map(|row| row.parent));
                self.rows = rows.len();
                self.text.reorder(&self.parents);
                Ok(None)
            }
            Step::Done => self.close_attempt(network, tokenizer),
        }
    }

    /// Takes the answers behind the last token and behind each one of the draft, as if each had come by itself, up
    /// to the first that the draft has not foreseen; what was fed behind that is forgotten.
    fn judge_draft(
        &mut self,
        network: &dyn Network,
        tokenizer: &Arc<Tokenizer>,
        answers: &[Answer],
    ) -> Result<Option<DecodingResult>> {
        let Some(draft) = &mut self.draft else {
            return Ok(None);
        };
        let fed = self.text.len() - draft.ahead().len();
        for (accepted, answer) in answers.chunks(1).enumerate() {
            let next = match self.decoder.advance(answer) {
                Step::Continue(rows) => rows.first().map(|row| row.token),
                Step::Done => None,
            };
            if next.is_some() && next == draft.ahead().get(accepted).copied() {
                continue;
            }
            draft.judged(accepted);
            self.text.truncate(fed + accepted);
            let Some(token) = next else {
                return self.close_attempt(network, tokenizer);
            };
            self.tokens.clear();
            self.tokens.push(token);
            break;
        }
        Ok(None)
    }

    /// The result stands, or the window starts again at its next temperature: its audio is kept,
    /// and nobody waits for it.
    fn close_attempt(
        &mut self,
        network: &dyn Network,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Option<DecodingResult>> {
        let mut result = self.decoder.finish();
        // Higher temperatures draw: nobody can write ahead of that.
        result.drafted = self.draft.take().map(|draft| draft.counts());
        let (gates, attempt) = (&self.job.gates, self.attempt);
        let looped = self.job.options.stop_loops
            && attempt + 1 < gates.temperatures.len()
            && loop_in(&result.tokens, tokenizer.eot()).is_some();
        if !looped && fallback::next_temperature(gates, attempt, &result).is_none() {
            result.failed = std::mem::take(&mut self.failed);
            return Ok(self.align(network, tokenizer, result));
        }
        self.failed.push(result.attempt());
        self.attempt += 1;
        self.decoder = Self::decoder(network, tokenizer, &self.job, self.attempt)?;
        self.feed_prompt();
        Ok(None)
    }

    /// The result, or nothing yet where word times are wanted of it: its text is fed once more, by itself.
    fn align(
        &mut self,
        network: &dyn Network,
        tokenizer: &Tokenizer,
        result: DecodingResult,
    ) -> Option<DecodingResult> {
        let Some(AlignWords { heads, .. }) = self.job.align.clone() else {
            return Some(result);
        };
        if fallback::is_silent(&result, &self.job.gates) {
            return Some(result);
        }
        let text = closed_text(tokenizer, &result.tokens);
        self.feed_again(network, tokenizer, &heads, text, result)
    }

    /// Feeds a text to be aligned; gives the result back where it is none, or too long.
    fn feed_again(
        &mut self,
        network: &dyn Network,
        tokenizer: &Tokenizer,
        heads: &WatchedHeads,
        text: Vec<u32>,
        result: DecodingResult,
    ) -> Option<DecodingResult> {
        let aligning = Aligning::new(tokenizer, &self.job.options, text, network.dims());
        let Some(aligning) = aligning else {
            return Some(result);
        };
        self.text.reset(1);
        self.text.watch(heads);
        self.tokens.clone_from(&aligning.tokens);
        self.rows = 1;
        self.aligning = Some((aligning, result));
        None
    }
}
