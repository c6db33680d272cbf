//! The token ids that decoding rules speak of.

use crate::tokenizer::Tokenizer;

/// The ids of a vocabulary that decoding rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Logits in a row.
    pub n_vocab: usize,
    /// End of text. Ids below are text; text that a fine-tune added may lie behind the timestamps.
    pub eot: u32,
    /// Opens the earlier text in a prompt.
    pub sot_prev: u32,
    /// Stands for a window without speech.
    pub no_speech: Option<u32>,
    /// Switches timestamps off.
    pub no_timestamps: u32,
    /// The first timestamp.
    pub timestamp_begin: u32,
    /// One past the last timestamp; equal to `timestamp_begin` in a vocabulary that has none.
    pub timestamp_end: u32,
    /// What a lone space is encoded as.
    pub blank: Vec<u32>,
    /// Tokens that begin annotations instead of speech.
    pub non_speech: Vec<u32>,
    /// Special tokens that are not sampled.
    pub specials: Vec<u32>,
    /// Logits without a token (networks are padded to a round number of them): never sampled.
    pub unused: Vec<u32>,
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
            timestamp_end: tokenizer.timestamp_end(),
            blank: tokenizer.blank_tokens().to_vec(),
            non_speech: tokenizer.non_speech_tokens().to_vec(),
            specials: [tokenizer.sot(), tokenizer.sot_prev()]
                .into_iter()
                .chain(tokenizer.transcribe())
                .chain(tokenizer.translate())
                .chain(tokenizer.sot_lm())
                .chain(tokenizer.no_speech())
                .chain(tokenizer.added_specials())
                .collect(),
            unused: tokenizer.unused(n_vocab).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_vocabularies_leave_nothing_unused() {
        for n_vocab in [51_864, 51_865, 51_866] {
            let tokenizer = Tokenizer::openai("test", n_vocab).expect("a known size");
            let vocabulary = Vocabulary::new(&tokenizer, n_vocab);
            assert_eq!(vocabulary.timestamp_end as usize, n_vocab);
            assert_eq!((vocabulary.unused.len(), vocabulary.specials.len()), (0, 6));
            let padded = Vocabulary::new(&tokenizer, n_vocab + 6);
            let expected: Vec<u32> = (n_vocab as u32..n_vocab as u32 + 6).collect();
            assert_eq!((padded.n_vocab, padded.unused), (n_vocab + 6, expected));
        }
    }
}
