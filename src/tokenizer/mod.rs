//! Text ↔ tokens, and the ids of the tokens that steer the decoder.
//!
//! In: `tokenizer.json`, or the tokens of another format as bytes. Out: one immutable [`Tokenizer`]. It stays true that
//! special tokens are known by their content and not by their number, that timestamps are the highest ids, and that
//! [`Tokenizer::encode`] never makes a special token. Names are openai/whisper's.

mod bpe;
mod languages;
mod special;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

pub use languages::{LANGUAGES, TO_LANGUAGE_CODE, language_code, language_name};
pub use special::N_TIMESTAMPS;

use crate::error::{Error, Result};
use crate::options::Task;
use bpe::Encoder;
use special::SpecialTokens;
use vocabulary::{ByteLevel, TokenBytes, TokenizerJson};

/// Marks that Whisper writes around what is not speech; each is suppressed where it is one token.
const NON_SPEECH_SYMBOLS: &str = "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 \
    << >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
/// Musical signs (U+2669 to U+266F), whose first token is suppressed even where they are several.
const MISCELLANEOUS_SYMBOLS: &str = "♩ ♪ ♫ ♬ ♭ ♮ ♯";
/// End of text in the English-only vocabulary, which carries language tokens it has no use for.
const ENGLISH_ONLY_EOT: u32 = 50_256;

/// A vocabulary with its special tokens. Immutable, `Send + Sync`; share it in an `Arc`.
pub struct Tokenizer {
    tokens: TokenBytes,
    special: SpecialTokens,
    special_ids: HashSet<u32>,
    encoder: OnceLock<Encoder>,
}

/// What a vocabulary is made from, whatever its format.
struct Parts {
    ordinary: Vec<(Vec<u8>, u32)>,
    special: Vec<(String, u32)>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `n_vocab` is the network's, where it is known.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, and as [`Tokenizer::from_bytes`].
    pub fn from_file(path: &Path, n_vocab: impl Into<Option<usize>>) -> Result<Self> {
        let name = path.display().to_string();
        let json = std::fs::read(path).map_err(|source| Error::File {
            file: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&name, &json, n_vocab.into())
    }

    /// Reads the bytes of a `tokenizer.json`; `name` is what errors call it.
    ///
    /// Timestamp tokens are added after `<|notimestamps|>` where the file stops before them.
    ///
    /// # Errors
    /// [`Error::Json`] where the bytes are not that; [`Error::Weights`] where they are no byte-level BPE vocabulary, a special token that decoding needs is missing,
    /// or there are more tokens than the network's `n_vocab`.
    pub fn from_bytes(name: &str, json: &[u8], n_vocab: Option<usize>) -> Result<Self> {
        let file: TokenizerJson = serde_json::from_slice(json).map_err(|error| Error::Json {
            file: name.into(),
            source: error.into(),
        })?;
        if let Some(kind) = file.model.kind.filter(|kind| kind != "BPE") {
            return Err(damaged(
                name,
                Some("model.type"),
                format!("{kind} is not BPE"),
            ));
        }
        let special: Vec<_> = file
            .added_tokens
            .into_iter()
            .map(|added| (added.content, added.id))
            .collect();
        let byte_level = ByteLevel::new();
        let bytes_of = |(token, id): (String, u32)| match byte_level.decode(&token) {
            Some(bytes) => Ok((bytes, id)),
            None => Err(damaged(
                name,
                Some("model.vocab"),
                format!("{token:?} is not written in bytes"),
            )),
        };
        let is_special: HashSet<u32> = special.iter().map(|(_, id)| *id).collect();
        let ordinary = file
            .model
            .vocab
            .into_iter()
            .filter(|(_, id)| !is_special.contains(id));
        let ordinary = ordinary.map(bytes_of).collect::<Result<Vec<_>>>()?;
        Self::build(name, Parts { ordinary, special }, n_vocab)
    }

    /// Makes a tokenizer from the bytes of the tokens in the order of their ids, for formats that carry nothing else.
    ///
    /// Special tokens come with their ids, after or among the others; where there are none, they are numbered after the
    /// last token as openai/whisper does, with as many languages as `n_vocab` leaves room for (99 if it is not given).
    /// Ids are ranks, as in openai's vocabularies: in one whose ids are in another order, a text may be encoded in
    /// other pieces than it was in training; decoding is not affected.
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`].
    pub fn from_parts(
        name: &str,
        tokens: Vec<Vec<u8>>,
        special: Vec<(String, u32)>,
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let special = if special.is_empty() {
            let others = special::N_CONTROL + N_TIMESTAMPS + tokens.len();
            let n_languages = n_vocab.map_or(99, |n| n.saturating_sub(others));
            special::openai_layout(id_of_index(tokens.len()), n_languages)
        } else {
            special
        };
        let ids = 0..id_of_index(tokens.len());
        Self::build(
            name,
            Parts {
                ordinary: tokens.into_iter().zip(ids).collect(),
                special,
            },
            n_vocab,
        )
    }

    /// The vocabulary that openai/whisper uses for a network of `n_vocab` tokens, for checkpoints that carry none.
    ///
    /// # Errors
    /// [`Error::Weights`] where `n_vocab` is none of openai's sizes (51,864 English-only, 51,865 and 51,866 multilingual).
    pub fn openai(name: &str, n_vocab: usize) -> Result<Self> {
        let stored: &[u8] = match n_vocab {
            51_864 => include_bytes!("../../models/vocabulary/english.zz"),
            51_865 | 51_866 => include_bytes!("../../models/vocabulary/multilingual.zz"),
            _ => {
                return Err(damaged(
                    name,
                    Some("n_vocab"),
                    format!("{n_vocab} tokens are none of openai's vocabularies"),
                ));
            }
        };
        let tokens = vocabulary::stored_tokens(stored)
            .map_err(|error| damaged(name, None, error.to_string()))?;
        Self::from_parts(name, tokens, Vec::new(), Some(n_vocab))
    }

    /// As [`Tokenizer::from_parts`], from tokens written as `tokenizer.json` writes them (`Ġthe`, `<|en|>`), special ones
    /// among them: what CTranslate2's `vocabulary.txt` and `vocabulary.json` hold.
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`].
    pub fn from_token_strings(
        name: &str,
        tokens: Vec<String>,
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let byte_level = ByteLevel::new();
        let (mut ordinary, mut special) = (Vec::new(), Vec::new());
        for (token, id) in tokens.into_iter().zip(0u32..) {
            if token.len() > 4 && token.starts_with("<|") && token.ends_with("|>") {
                special.push((token, id));
            } else {
                let bytes = byte_level.decode(&token);
                let reason = || damaged(name, None, format!("{token:?} is not written in bytes"));
                ordinary.push((bytes.ok_or_else(reason)?, id));
            }
        }
        Self::build(name, Parts { ordinary, special }, n_vocab)
    }

    fn build(name: &str, parts: Parts, n_vocab: Option<usize>) -> Result<Self> {
        let most = n_vocab
            .unwrap_or(TokenBytes::MOST_IDS)
            .min(TokenBytes::MOST_IDS);
        let ids = parts
            .ordinary
            .iter()
            .map(|(_, id)| id)
            .chain(parts.special.iter().map(|(_, id)| id));
        let highest = ids.copied().max().unwrap_or(0);
        let mut special = parts.special;
        let id_of = |special: &[(String, u32)], content: &str| {
            special
                .iter()
                .find(|(known, _)| known == content)
                .map(|(_, id)| *id)
        };
        let timestamp_begin = id_of(&special, "<|0.00|>").unwrap_or(highest.saturating_add(1));
        let end = (timestamp_begin as usize + N_TIMESTAMPS).max(highest as usize + 1);
        if end > most {
            return Err(damaged(
                name,
                None,
                format!("{end} tokens, but the network has {most}"),
            ));
        }
        special.extend(
            (0..N_TIMESTAMPS)
                .map(special::timestamp_content)
                .zip(timestamp_begin..),
        );
        let by_content: std::collections::HashMap<&str, u32> = special
            .iter()
            .map(|(content, id)| (content.as_str(), *id))
            .collect();
        let found =
            SpecialTokens::find(|content| by_content.get(content).copied(), timestamp_begin)
                .map_err(|content| {
                    damaged(name, Some("added_tokens"), format!("has no {content}"))
                })?;
        let mut tokens = TokenBytes::default();
        parts
            .ordinary
            .iter()
            .for_each(|(bytes, id)| tokens.set(*id, bytes));
        special
            .iter()
            .for_each(|(content, id)| tokens.set(*id, content.as_bytes()));
        Ok(Self {
            tokens,
            special: found,
            special_ids: special.iter().map(|(_, id)| *id).collect(),
            encoder: OnceLock::new(),
        })
    }

    /// Whether the model knows more languages than English, and the task tokens.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        !self.special.languages.is_empty() && self.special.eot != ENGLISH_ONLY_EOT
    }

    /// One past the highest id, timestamps included.
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
        self.special.timestamp_begin
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
        let build = || Encoder::new(&self.tokens, |id| self.special_ids.contains(&id));
        self.encoder.get_or_init(build).encode(text)
    }

    /// The text of tokens, timestamps left out. Other special tokens are written as they are, unknown ids are left out,
    /// and what is not UTF-8 becomes U+FFFD as Python's `errors="replace"` has it.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let text = tokens.iter().filter(|id| **id < self.timestamp_begin());
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

    /// The bytes of one token, not always whole characters; `None` where the id has no token.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.token(id)
    }

    /// Tokens of brackets, speaker marks and music signs, which openai/whisper suppresses by default; sorted.
    ///
    /// Hyphens and single quotes are kept inside words and suppressed where they start one.
    #[must_use]
    pub fn non_speech_tokens(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = [" -", " '"]
            .iter()
            .filter_map(|mark| self.encode(mark).first().copied())
            .collect();
        let symbols = NON_SPEECH_SYMBOLS.split(' ').map(|symbol| (symbol, false));
        for (symbol, always) in symbols.chain(
            MISCELLANEOUS_SYMBOLS
                .split(' ')
                .map(|symbol| (symbol, true)),
        ) {
            for text in [symbol.to_owned(), format!(" {symbol}")] {
                match self.encode(&text).as_slice() {
                    [only] => ids.push(*only),
                    [first, ..] if always => ids.push(*first),
                    _ => {}
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The tokens that `suppress_blank` keeps from coming first: a space, and the end of the text.
    #[must_use]
    pub fn blank_tokens(&self) -> Vec<u32> {
        let mut blank = self.encode(" ");
        blank.push(self.eot());
        blank
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("n_vocab", &self.n_vocab())
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

fn id_of_index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn damaged(name: &str, field: Option<&str>, reason: String) -> Error {
    Error::Weights {
        file: name.into(),
        tensor: field.map(str::to_owned),
        reason,
    }
}
