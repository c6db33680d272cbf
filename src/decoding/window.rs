//! The decoding of one window at one temperature, from prompt to text.

use std::sync::Arc;

use crate::decoding::compression::compression_ratio;
use crate::decoding::phrases::Expected;
use crate::decoding::result::{DecodingResult, strip};
use crate::decoding::rows::Step;
use crate::decoding::task::DecodingTask;
use crate::decoding::vocabulary::Vocabulary;
use crate::error::Result;
use crate::options::DecodingOptions;
use crate::ranking::{Answer, Bias, Query};
use crate::tokenizer::Tokenizer;

/// One window at one temperature, as a state machine that asks and is answered.
///
/// Run [`prompt`](Self::prompt) as one row, then the rows that each [`Step`] names; each time ask the
/// network what [`queries`](Self::queries) says and hand the answers to [`advance`](Self::advance), until
/// it is [`Step::Done`]. Filters are part of the queries: logits are ranked as the network gives them.
#[derive(Clone)]
pub struct WindowDecoder {
    task: DecodingTask,
    tokenizer: Arc<Tokenizer>,
    temperature: f64,
    language: String,
}

impl WindowDecoder {
    /// Sets up a window. `n_vocab` and `n_text_ctx` are the model's; no language means English.
    ///
    /// # Errors
    /// [`Error::Option`](crate::error::Error::Option) naming an option that contradicts another or
    /// does not fit the model.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        n_vocab: usize,
        options: &DecodingOptions,
        n_text_ctx: usize,
    ) -> Result<Self> {
        let vocabulary = Vocabulary::new(&tokenizer, n_vocab);
        let language = options.language.as_deref();
        let sot_sequence =
            tokenizer.sot_sequence(language, options.task, options.without_timestamps);
        Ok(Self {
            task: DecodingTask::new(&vocabulary, &sot_sequence, options, n_text_ctx)?,
            tokenizer,
            temperature: options.temperature,
            language: language.unwrap_or("en").into(),
        })
    }

    /// The same window, with phrases to expect where there are any.
    #[must_use]
    pub fn expecting(mut self, bias: Option<&Arc<Bias>>) -> Self {
        if let Some(bias) = bias {
            let expected = Expected::new(bias.clone(), &self.language);
            self.task.expect(expected);
        }
        self
    }

    /// The tokens of the prefill: earlier text, the start sequence, the prefix. The whole group
    /// starts from this one row.
    #[must_use]
    pub fn prompt(&self) -> &[u32] {
        &self.task.prompt
    }

    /// The position in the prompt whose logits tell whether there is speech.
    #[must_use]
    #[cfg(test)]
    pub fn sot_index(&self) -> usize {
        self.task.sot_index
    }

    /// End of text.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.tokenizer.eot()
    }

    /// Rows after the prefill, at most: beams, or samples to draw.
    #[must_use]
    pub fn group(&self) -> usize {
        self.task.group
    }

    /// What to ask of the next step: of the prompt, run as one row, or of the rows that the last [`Step`]
    /// named.
    #[must_use]
    pub fn queries(&self) -> Vec<Query<'_>> {
        self.task.queries()
    }

    /// What its one row has sampled, where that goes on greedily.
    #[must_use]
    pub fn greedy_row(&self) -> Option<&[u32]> {
        self.task.greedy_row()
    }

    /// What to ask behind tokens that this row might sample next: of `at`, the step's token before it.
    #[must_use]
    pub fn query_behind(&self, ahead: &[u32], at: usize) -> Query<'_> {
        self.task.query_behind(ahead, at)
    }

    /// Takes the answers to [`queries`](Self::queries), in their order.
    pub fn advance(&mut self, answers: &[Answer]) -> Step<'_> {
        self.task.advance(answers)
    }

    /// The result; before [`Step::Done`], the best there is so far.
    #[must_use]
    pub fn finish(&self) -> DecodingResult {
        let best = self.task.best();
        let text = strip(&self.tokenizer.decode(&best.tokens)).to_owned();
        DecodingResult {
            avg_logprob: f64::from(best.sum_logprob) / (best.tokens.len() + 1) as f64,
            no_speech_prob: self.task.no_speech_prob,
            temperature: self.temperature,
            compression_ratio: compression_ratio(&text),
            language: self.language.clone(),
            failed: Vec::new(),
            alignment: None,
            words: None,
            drafted: None,
            tokens: best.tokens,
            text,
        }
    }
}
