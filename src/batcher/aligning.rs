//! The step behind a decoded window that word timing needs: its text fed once more, without timestamps and
//! without the text before it, while the alignment heads are watched.

use std::sync::Arc;

use crate::decoding::Alignment;
use crate::dims::ModelDimensions;
use crate::model::CrossWeights;
use crate::options::DecodingOptions;
use crate::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use crate::timing::{HeadWeights, start_positions};
use crate::tokenizer::Tokenizer;

/// The cross-attention heads, layer and head each, that follow the audio. Cheap to clone.
pub type WatchedHeads = Arc<[(usize, usize)]>;

/// How a window's text is aligned with its audio.
#[derive(Clone, Debug)]
pub struct AlignWords {
    /// The heads to watch.
    pub heads: WatchedHeads,
    /// Positions (20 ms each) of the window's own audio; what follows is padding.
    pub positions: usize,
    /// Which text, and by what.
    pub way: AlignWay,
}

/// Which text is aligned, and by what.
#[derive(Clone, Debug)]
pub enum AlignWay {
    /// What was decoded, fed once more: openai/whisper's numbers.
    Again,
    /// This text, instead of decoding the window.
    Given(Arc<[u32]>),
}

/// A window whose text is being aligned.
pub(super) struct Aligning {
    /// What is fed: the start sequence, `<|notimestamps|>`, the text, the end.
    pub tokens: Vec<u32>,
    text_tokens: Vec<u32>,
    lead: usize,
    allowed: AllowedRuns,
    /// Every id below is text.
    eot: usize,
}

impl Aligning {
    /// None where there is no text, or more than the decoder has room for.
    pub fn new(
        tokenizer: &Tokenizer,
        options: &DecodingOptions,
        text_tokens: Vec<u32>,
        dims: &ModelDimensions,
    ) -> Option<Self> {
        let mut tokens = tokenizer.sot_sequence(options.language.as_deref(), options.task, true);
        let lead = tokens.len() - 1;
        tokens.extend_from_slice(&text_tokens);
        tokens.push(tokenizer.eot());
        if text_tokens.is_empty() || tokens.len() > dims.n_text_ctx {
            return None;
        }
        Some(Self {
            tokens,
            text_tokens,
            lead,
            allowed: AllowedRuns::new(dims.n_vocab, &[]),
            eot: tokenizer.eot() as usize,
        })
    }

    /// How likely each text token is behind those before it, among text tokens.
    pub fn queries<'a>(&'a self) -> Vec<Query<'a>> {
        let query = |(i, token): (usize, &'a u32)| Query {
            row: 0,
            at: self.lead + i,
            constraint: Constraint::plain(&self.allowed, self.eot),
            want: Wanted::Probabilities(std::slice::from_ref(token)),
        };
        let tokens: &[u32] = &self.text_tokens;
        tokens.iter().enumerate().map(query).collect()
    }

    /// What was found.
    pub fn finish(self, answers: &[Answer], weights: &CrossWeights, positions: usize) -> Alignment {
        let probability = |answer: &Answer| answer.probabilities().first().copied();
        let heads = HeadWeights {
            weights: &weights.weights,
            tokens: weights.tokens,
            positions: weights.positions,
        };
        Alignment {
            probabilities: answers
                .iter()
                .map(|answer| probability(answer).unwrap_or(f32::NAN))
                .collect(),
            text_tokens: self.text_tokens,
            starts: start_positions(heads, self.lead, positions),
        }
    }
}
