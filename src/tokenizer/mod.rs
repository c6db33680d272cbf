//! Text ↔ tokens, and the ids of the tokens that steer the decoder.
//!
//! In: `tokenizer.json`, or the tokens of another format as bytes. Out: one immutable [`Tokenizer`]. It stays true that
//! special tokens are known by their content and not by their number, that timestamps are 1,501 ids in a row (or none at
//! all), and that [`Tokenizer::encode`] never makes a special token. Names are openai/whisper's.

mod encoder;
mod kept;
mod languages;
mod marks;
mod merges;
mod read;
mod special;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::sync::OnceLock;

pub use languages::{LANGUAGES, is_auto, language_code, language_name};
pub(crate) use special::mistaken_model;

use tokenizers::models::bpe::Merges;

use crate::options::Task;
use encoder::Encoder;
use marks::Marks;
use special::SpecialTokens;
use vocabulary::{ByteLevel, Kind, TokenBytes};

/// End of text in the English-only vocabulary, which carries language tokens it has no use for.
const ENGLISH_ONLY_EOT: u32 = 50_256;

/// A vocabulary with its special tokens. Immutable, `Send + Sync`; share it in an `Arc`.
pub struct Tokenizer {
    tokens: TokenBytes,
    special: SpecialTokens,
    /// Ids below others that no token has.
    holes: Vec<u32>,
    /// What the file says about merging; empty where ids are ranks.
    merges: Merges,
    marks: OnceLock<Marks>,
}

impl Tokenizer {
    /// Whether the model knows more languages than English, and the task tokens.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        !self.special.languages.is_empty() && self.special.eot != ENGLISH_ONLY_EOT
    }

    /// One past the highest id that has a token.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        self.tokens.len()
    }

    /// `<|endoftext|>`.
    #[must_use]
    pub fn eot(&self) -> u32 {
        self.special.eot
    }

    /// `<|startoftranscript|>`.
    #[must_use]
    pub fn sot(&self) -> u32 {
        self.special.sot
    }

    /// `<|startofprev|>`, before the text of earlier windows.
    #[must_use]
    pub fn sot_prev(&self) -> u32 {
        self.special.sot_prev
    }

    /// `<|startoflm|>`, where the vocabulary has it.
    #[must_use]
    pub fn sot_lm(&self) -> Option<u32> {
        self.special.sot_lm
    }

    /// `<|nospeech|>` (`<|nocaptions|>` in older files), where the vocabulary has it.
    #[must_use]
    pub fn no_speech(&self) -> Option<u32> {
        self.special.no_speech
    }

    /// `<|notimestamps|>`.
    #[must_use]
    pub fn no_timestamps(&self) -> u32 {
        self.special.no_timestamps
    }

    /// `<|0.00|>`, the first of the timestamps.
    #[must_use]
    pub fn timestamp_begin(&self) -> u32 {
        self.special.timestamps.start
    }

    /// One past `<|30.00|>`, the last of the timestamps; equal to [`Tokenizer::timestamp_begin`] where the vocabulary has
    /// none. Ids from here on are text or special tokens that a fine-tune added.
    #[must_use]
    pub fn timestamp_end(&self) -> u32 {
        self.special.timestamps.end
    }

    /// Whether a token is a timestamp.
    #[must_use]
    pub fn is_timestamp(&self, id: u32) -> bool {
        self.special.timestamps.contains(&id)
    }

    /// Whether a token is part of what is said: no special token, no timestamp, no id without a token.
    #[must_use]
    pub fn is_text(&self, id: u32) -> bool {
        matches!(self.tokens.kind(id), Kind::Ordinary | Kind::Added)
    }

    /// Special tokens behind the timestamps, which openai/whisper does not have.
    pub fn added_specials(&self) -> impl Iterator<Item = u32> + '_ {
        let behind = self.timestamp_end()..self.tokens.len() as u32;
        behind.filter(|id| self.tokens.kind(*id) == Kind::Special)
    }

    /// The ids of a network with `n_vocab` logits that no token has.
    pub fn unused(&self, n_vocab: usize) -> impl Iterator<Item = u32> + '_ {
        let behind = self.tokens.len() as u32..n_vocab as u32;
        self.holes.iter().copied().chain(behind)
    }

    /// `<|transcribe|>`. English-only vocabularies carry it too, unused (openai suppresses it there as well).
    #[must_use]
    pub fn transcribe(&self) -> Option<u32> {
        self.special.transcribe
    }

    /// `<|translate|>`. English-only vocabularies carry it too, unused (openai suppresses it there as well).
    #[must_use]
    pub fn translate(&self) -> Option<u32> {
        self.special.translate
    }

    /// The token of a language code, where the model knows the language.
    #[must_use]
    pub fn language_token(&self, code: &str) -> Option<u32> {
        self.languages()
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, id)| *id)
    }

    /// Code and token of each language the model knows, in the order of the tokens; none for English-only models.
    #[must_use]
    pub fn languages(&self) -> &[(&'static str, u32)] {
        if self.is_multilingual() {
            &self.special.languages
        } else {
            &[]
        }
    }

    /// The tokens that open a window: `[sot, language, task]`, only `[sot]` for English-only models, and
    /// `<|notimestamps|>` after them where it is asked for.
    ///
    /// No language means English. A language that the vocabulary lacks is left out; whoever takes languages from a user
    /// checks them with [`Tokenizer::language_token`] first.
    #[must_use]
    pub fn sot_sequence(
        &self,
        language: Option<&str>,
        task: Task,
        without_timestamps: bool,
    ) -> Vec<u32> {
        let mut sequence = vec![self.sot()];
        if self.is_multilingual() {
            sequence.extend(self.language_token(language.unwrap_or("en")));
            sequence.extend(match task {
                Task::Transcribe => self.transcribe(),
                Task::Translate => self.translate(),
            });
        }
        sequence.extend(without_timestamps.then(|| self.no_timestamps()));
        sequence
    }

    /// The tokens of a text. What looks like a special token is ordinary text here (openai/whisper raises an error).
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encoder(text).encode(text)
    }

    /// The text of tokens, timestamps left out. Other special tokens are written as they are, unknown ids are left out,
    /// and what is not UTF-8 becomes U+FFFD as Python's `errors="replace"` has it.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let text = tokens.iter().filter(|id| !self.is_timestamp(**id));
        self.join(text)
    }

    /// As [`Tokenizer::decode`], with timestamps written as `<|1.08|>`.
    #[must_use]
    pub fn decode_with_timestamps(&self, tokens: &[u32]) -> String {
        self.join(tokens.iter())
    }

    fn join<'a>(&self, tokens: impl Iterator<Item = &'a u32>) -> String {
        let bytes: Vec<u8> = tokens
            .filter_map(|id| self.tokens.token(*id))
            .flatten()
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether whatever steers the decoder has the same ids in both vocabularies, and both have as many tokens.
    #[must_use]
    pub fn has_ids_of(&self, other: &Self) -> bool {
        let ids = |of: &Self| {
            let steering = [of.eot(), of.sot(), of.sot_prev(), of.no_timestamps()];
            let tasks = [of.transcribe(), of.translate()];
            let timestamps = of.special.timestamps.clone();
            (steering, tasks, timestamps, of.n_vocab())
        };
        ids(self) == ids(other) && self.languages() == other.languages()
    }

    /// The bytes of one token, not always whole characters; `None` where the id has no token.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.token(id)
    }

    /// A token as `vocabulary.json` and `tokenizer.json` write it: bytes of text as printable characters, special tokens as
    /// they are. An id without a token has a name that no other has.
    #[must_use]
    pub fn token_string(&self, id: u32) -> String {
        let Some(bytes) = self.tokens.token(id) else {
            return format!("<|unused {id}|>");
        };
        match self.tokens.kind(id) {
            Kind::Special | Kind::Added => String::from_utf8_lossy(bytes).into_owned(),
            Kind::Ordinary | Kind::None => ByteLevel::new().written(bytes),
        }
    }

    /// Tokens of brackets, speaker marks and music signs, which openai/whisper suppresses by default; sorted.
    #[must_use]
    pub fn non_speech_tokens(&self) -> &[u32] {
        &self.marks().non_speech
    }

    /// The tokens of a lone space, which `suppress_blank` keeps from coming first.
    #[must_use]
    pub fn blank_tokens(&self) -> &[u32] {
        &self.marks().blank
    }

    fn marks(&self) -> &Marks {
        self.marks
            .get_or_init(|| Marks::new(|text| self.encoder(text)))
    }

    fn encoder(&self, text: &str) -> Encoder {
        Encoder::new(&self.tokens, &self.merges, text)
    }
}

/// Ids below others that no token has.
fn holes(tokens: &TokenBytes) -> Vec<u32> {
    let without = |id: &u32| tokens.kind(*id) == Kind::None;
    (0..tokens.len() as u32).filter(without).collect()
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("n_vocab", &self.n_vocab())
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}
