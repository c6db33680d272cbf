//! How a vocabulary is put together from what a file says. In: `tokenizer.json`, or the tokens of another format. Out:
//! a [`Tokenizer`] whose ids are checked against each other and against the network's size.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use super::merges::Ranked;
use super::special::{self, N_TIMESTAMPS, SpecialTokens};
use super::vocabulary::{ByteLevel, Kind, MergesJson, TokenBytes, TokenizerJson, stored_tokens};
use super::{LANGUAGES, Tokenizer, holes};
use crate::error::{Error, Result};

/// [`TokenBytes::digest`] of openai's tokens, multilingual and English-only, whose ids are ranks.
pub(super) const OPENAIS: [&str; 2] = [
    "0385714e3009ac870d505ee452c00c545a0178ae42cfe4e1921179f7ebb0593c",
    "b91f3c8b678e78163bcd3d79e0a3ff685a414fe810e36c4d308255dc030e95db",
];

/// What every format gives.
struct Parts {
    /// Tokens that text is made of, as bytes.
    ordinary: Vec<(Vec<u8>, u32)>,
    /// Tokens beside them, special ones and text that a fine-tune added, as they are written.
    added: Vec<Added>,
}

struct Added {
    content: String,
    id: u32,
    is_special: bool,
}

impl Added {
    fn special((content, id): (String, u32)) -> Self {
        Self {
            content,
            id,
            is_special: true,
        }
    }
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
    /// Timestamp tokens are added after `<|notimestamps|>` where the file stops before them. Added tokens are special
    /// where the file says so or where they are written `<|…|>`; others are text.
    ///
    /// # Errors
    /// [`Error::Json`] where the bytes are not that; [`Error::Weights`] where they are no byte-level BPE vocabulary, a
    /// special token that decoding needs is missing, ids contradict each other, or there are more tokens than the
    /// network's `n_vocab`.
    pub fn from_bytes(name: &str, json: &[u8], n_vocab: Option<usize>) -> Result<Self> {
        let bad = |error: serde_json::Error| Error::Json {
            file: name.into(),
            source: error.into(),
        };
        let file: TokenizerJson = serde_json::from_slice(json).map_err(bad)?;
        if let Some(kind) = file.model.kind.filter(|kind| kind != "BPE") {
            let reason = format!("{kind} is not BPE");
            return Err(damaged(name, Some("model.type"), reason));
        }
        let added = file.added_tokens.into_iter().map(|token| Added {
            is_special: token.special || is_written_as_special(&token.content),
            content: token.content,
            id: token.id,
        });
        let added: Vec<Added> = added.collect();
        let special: HashMap<u32, bool> = added.iter().map(|t| (t.id, t.is_special)).collect();
        let byte_level = ByteLevel::new();
        let mut ordinary = Vec::with_capacity(file.model.vocab.len());
        for (token, id) in file.model.vocab {
            match (byte_level.decode(&token), special.get(&id)) {
                (_, Some(true)) | (None, Some(false)) => {}
                (Some(bytes), _) => ordinary.push((bytes, id)),
                (None, None) => {
                    let reason = format!("{token:?} is not written in bytes");
                    return Err(damaged(name, Some("model.vocab"), reason));
                }
            }
        }
        let mut tokenizer = Self::build(name, Parts { ordinary, added }, n_vocab)?;
        if !tokenizer.has_ranks() {
            let file: MergesJson = serde_json::from_slice(json).map_err(bad)?;
            let no_pair = || {
                let reason = "not every merge is a pair of tokens".into();
                damaged(name, Some("model.merges"), reason)
            };
            tokenizer.merges = file.pairs().ok_or_else(no_pair)?;
        }
        Ok(tokenizer)
    }

    /// Makes a tokenizer from the bytes of the tokens in the order of their ids, for formats that carry nothing else.
    ///
    /// Special tokens are numbered after the last token (or from `<|endoftext|>` on, where that is in the list) as
    /// openai/whisper does, with as many languages as `n_vocab` leaves room for (99 if it is not given).
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`]; also where `n_vocab` leaves room for more languages than there are, so that nothing
    /// tells which id means what.
    pub fn from_parts(
        name: &str,
        mut tokens: Vec<Vec<u8>>,
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        if let Some(eot) = tokens.iter().position(|token| token == b"<|endoftext|>") {
            tokens.truncate(eot);
        }
        let others = special::N_CONTROL + N_TIMESTAMPS + tokens.len();
        let n_languages = n_vocab.map_or(99, |n| n.saturating_sub(others));
        if n_languages > LANGUAGES.len() {
            let reason = format!(
                "{} tokens and a network of {} leave room for {n_languages} languages, where Whisper knows {}",
                tokens.len(),
                others + n_languages,
                LANGUAGES.len()
            );
            return Err(damaged(name, Some("n_vocab"), reason));
        }
        let special = special::openai_layout(id_of_index(tokens.len()), n_languages);
        let parts = Parts {
            ordinary: tokens.into_iter().zip(0..).collect(),
            added: special.into_iter().map(Added::special).collect(),
        };
        Self::build(name, parts, n_vocab)
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
                let reason = format!("{n_vocab} tokens are none of openai's vocabularies");
                return Err(damaged(name, Some("n_vocab"), reason));
            }
        };
        let tokens =
            stored_tokens(stored).map_err(|error| damaged(name, None, error.to_string()))?;
        Self::from_parts(name, tokens, Some(n_vocab))
    }

    /// As [`Tokenizer::from_parts`], from tokens written as `tokenizer.json` writes them (`Ġthe`, `<|en|>`), special ones
    /// among them: what CTranslate2's `vocabulary.txt` and `vocabulary.json` hold. What stands behind `<|endoftext|>` and
    /// is not written `<|…|>` is text that a fine-tune added, written plainly.
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`].
    pub fn from_token_strings(
        name: &str,
        tokens: Vec<String>,
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let byte_level = ByteLevel::new();
        let (mut ordinary, mut added) = (Vec::new(), Vec::new());
        let mut is_behind_text = false;
        for (content, id) in tokens.into_iter().zip(0u32..) {
            let is_special = is_written_as_special(&content);
            is_behind_text |= content == "<|endoftext|>";
            if is_special || is_behind_text {
                added.push(Added {
                    content,
                    id,
                    is_special,
                });
            } else {
                let bytes = byte_level.decode(&content);
                let reason = || damaged(name, None, format!("{content:?} is not written in bytes"));
                ordinary.push((bytes.ok_or_else(reason)?, id));
            }
        }
        Self::build(name, Parts { ordinary, added }, n_vocab)
    }

    /// Whether ids are ranks: every token is made of two of lower rank. openai's need not be looked through again.
    fn has_ranks(&self) -> bool {
        let ordinary: Vec<_> = self.tokens.ordinary().collect();
        OPENAIS.contains(&self.tokens.digest().as_str()) || Ranked::new(&ordinary).is_complete
    }

    fn build(name: &str, parts: Parts, n_vocab: Option<usize>) -> Result<Self> {
        let most = n_vocab
            .unwrap_or(TokenBytes::MOST_IDS)
            .min(TokenBytes::MOST_IDS);
        let ordinary_ids = parts.ordinary.iter().map(|(_, id)| *id);
        let ids = ordinary_ids.chain(parts.added.iter().map(|token| token.id));
        let count = ids.max().map_or(0, |highest| highest as usize + 1);
        if count > most {
            return Err(damaged(name, None, too_many(count, most)));
        }
        let mut tokens = TokenBytes::default();
        for (bytes, id) in &parts.ordinary {
            tokens.set(*id, bytes, Kind::Ordinary);
        }
        for Added {
            content,
            id,
            is_special,
        } in &parts.added
        {
            if *is_special {
                tokens.set(*id, content.as_bytes(), Kind::Special);
            } else if tokens.kind(*id) == Kind::None {
                tokens.set(*id, content.as_bytes(), Kind::Added);
            }
        }
        let specials = parts.added.iter().filter(|token| token.is_special);
        let by_content: HashMap<&str, u32> = specials
            .map(|token| (token.content.as_str(), token.id))
            .collect();
        let id_of = |content: &str| by_content.get(content).copied();
        let mut special = SpecialTokens::find(id_of)
            .map_err(|content| damaged(name, Some("added_tokens"), format!("has no {content}")))?;
        let listed = id_of("<|0.00|>");
        let begin = listed.unwrap_or(special.no_timestamps + 1);
        special.timestamps = match place_timestamps(&mut tokens, begin, most) {
            Ok(timestamps) => timestamps,
            Err(reason) if listed.is_some() => return Err(damaged(name, None, reason)),
            // openai's own vocabulary with times that do not fit is that of another network.
            Err(_) if special::mistaken_model(end_of(begin), most).is_some() => {
                return Err(damaged(name, None, too_many(end_of(begin), most)));
            }
            Err(_) => id_of_index(tokens.len())..id_of_index(tokens.len()),
        };
        Ok(Self {
            holes: holes(&tokens),
            tokens,
            special,
            merges: Vec::new(),
            marks: OnceLock::new(),
        })
    }
}

/// Where timestamps end that begin there.
fn end_of(begin: u32) -> usize {
    begin as usize + N_TIMESTAMPS
}

fn too_many(count: usize, most: usize) -> String {
    special::mistaken_model(count, most)
        .unwrap_or_else(|| format!("{count} tokens, but the network has {most}"))
}

/// Gives the timestamps their ids, from `begin` on in a row; an id that means something else there, or that the network
/// lacks, is the reason why that cannot be.
fn place_timestamps(
    tokens: &mut TokenBytes,
    begin: u32,
    most: usize,
) -> std::result::Result<std::ops::Range<u32>, String> {
    let end = end_of(begin);
    if end > most {
        return Err(too_many(end, most));
    }
    let timestamps = begin..id_of_index(end);
    let contents = (0..N_TIMESTAMPS).map(special::timestamp_content);
    for (id, content) in timestamps.clone().zip(contents.clone()) {
        if let Some(other) = tokens
            .token(id)
            .filter(|known| *known != content.as_bytes())
        {
            let other = String::from_utf8_lossy(other).into_owned();
            return Err(format!("token {id} is {other:?} instead of {content}"));
        }
    }
    for (id, content) in timestamps.clone().zip(contents) {
        tokens.set(id, content.as_bytes(), Kind::Special);
    }
    Ok(timestamps)
}

/// Whether a token is written as openai/whisper writes its special ones.
fn is_written_as_special(token: &str) -> bool {
    token.len() > 4 && token.starts_with("<|") && token.ends_with("|>")
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
