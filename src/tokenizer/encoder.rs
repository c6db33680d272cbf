//! Text → tokens: byte-level BPE by the `tokenizers` crate, with the merges that give what openai/whisper's `tiktoken` gives.

use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel as Pieces;

use super::merges::{Ranked, UNKNOWN, byte_ids};
use super::vocabulary::{ByteLevel, TokenBytes};

/// An encoder of certain texts. Special and added tokens are unknown to it, so that their text is ordinary text.
pub(super) struct Encoder(Tokenizer);

impl Encoder {
    /// Builds for `text` and what it contains.
    ///
    /// The model is made of the tokens that can occur in the text, and gives what one of all tokens would: nothing else
    /// is ever looked up. A whole one takes 20 ms to build, of which a short recording with a prompt would feel 10 %;
    /// this takes less than one for a prompt, and the more the longer the text.
    ///
    /// Ids are ranks where there are no `merges`.
    pub(super) fn new(tokens: &TokenBytes, merges: &Merges, text: &str) -> Self {
        let needed = occurring(tokens, text.as_bytes());
        let byte_level = ByteLevel::new();
        let mut vocab = Vocab::with_capacity(needed.len() + 256);
        // Where bytes have two ids, the first counts.
        let named = needed
            .iter()
            .rev()
            .map(|(id, token)| (byte_level.encode(token), *id));
        vocab.extend(named);
        let bytes = (0..=255).zip(byte_ids(&needed));
        vocab.extend(bytes.map(|(byte, id)| (byte_level.encode(&[byte]), id)));
        let merges = if merges.is_empty() {
            let name = |id: u32| match id.checked_sub(UNKNOWN) {
                Some(byte) => byte_level.encode(&[byte as u8]),
                None => byte_level.encode(tokens.token(id).unwrap_or_default()),
            };
            let pairs = Ranked::new(&needed).pairs.into_iter();
            pairs
                .map(|(left, right)| (name(left), name(right)))
                .collect()
        } else {
            usable(merges, &vocab)
        };
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(true)
            .cache_capacity(0)
            .build()
            .expect("both parts of every merge and what they make are in the vocabulary");
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(Pieces::new(false, false, true)));
        Self(tokenizer)
    }

    /// The tokens of a text that this was built for. Bytes that the vocabulary has no token for are dropped.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let encoding = self.0.encode_fast(text, false);
        let encoding =
            encoding.expect("every byte is in the vocabulary, and nothing else can fail");
        let ids = encoding.get_ids().iter().copied();
        ids.filter(|id| *id < UNKNOWN).collect()
    }
}

/// Every ordinary token that occurs in a text, and a few more: those whose bytes follow each other somewhere in it.
fn occurring<'a>(tokens: &'a TokenBytes, text: &[u8]) -> Vec<(u32, &'a [u8])> {
    let place = |pair: &[u8]| usize::from(pair[0]) << 8 | usize::from(pair[1]);
    let mut follows = vec![false; 1 << 16];
    text.windows(2).for_each(|pair| follows[place(pair)] = true);
    let occurs = |token: &[u8]| token.windows(2).all(|pair| follows[place(pair)]);
    tokens
        .ordinary()
        .filter(|(_, token)| occurs(token))
        .collect()
}

/// A file's merges, less those of tokens that are not in the vocabulary (a pruned one keeps them).
fn usable(merges: &Merges, vocab: &Vocab) -> Merges {
    let is_known = |(left, right): &&(String, String)| {
        let parts = [left, right].iter().all(|part| vocab.contains_key(*part));
        parts && vocab.contains_key(&format!("{left}{right}"))
    };
    merges.iter().filter(is_known).cloned().collect()
}
