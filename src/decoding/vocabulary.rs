//! The token ids that decoding rules speak of.

use crate::tokenizer::Tokenizer;

/// The ids of a vocabulary that decoding rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Logits in a row.
    pub n_vocab: usize,
    /// End of text; every id below is text.
    pub eot: u32,
    /// Opens the earlier text in a prompt.
    pub sot_prev: u32,
    /// Stands for a window without speech.
    pub no_speech: Option<u32>,
    /// Switches timestamps off.
    pub no_timestamps: u32,
    /// The first timestamp; every id from here on is a timestamp.
    pub timestamp_begin: u32,
    /// What a lone space is encoded as.
    pub blank: Vec<u32>,
    /// Tokens that begin annotations instead of speech.
    pub non_speech: Vec<u32>,
    /// Special tokens that are never sampled.
    pub specials: Vec<u32>,
}

impl Vocabulary {
    /// Looks up the ids of a tokenizer for a model with `n_vocab` logits.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer, n_vocab: usize) -> Self {
        Self {
            n_vocab,
            eot: tokenizer.eot(),
            sot_prev: tokenizer.sot_prev(),
            no_speech: tokenizer.no_speech(),
            no_timestamps: tokenizer.no_timestamps(),
            timestamp_begin: tokenizer.timestamp_begin(),
            blank: tokenizer.encode(" "),
            non_speech: tokenizer.non_speech_tokens(),
            specials: [tokenizer.sot(), tokenizer.sot_prev()]
                .into_iter()
                .chain(tokenizer.transcribe())
                .chain(tokenizer.translate())
                .chain(tokenizer.sot_lm())
                .chain(tokenizer.no_speech())
                .collect(),
        }
    }
}
