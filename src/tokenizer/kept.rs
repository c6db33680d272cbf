//! A vocabulary as it is kept on disk: what reading and checking a file gave, had again in one pass.
//!
//! In and out: a mark, a key with its length, how many ids there are, where timestamps begin and end, then of every
//! id what it stands for and how long its token is, then all tokens; behind it all the SHA-256 of what is before, as one wrong byte
//! would be a wrong text.

use std::collections::HashMap;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::special::SpecialTokens;
use super::vocabulary::{Kind, TokenBytes};
use super::{Tokenizer, holes};

/// Opens every file; the last digits are the layout's version.
const MARK: &[u8; 16] = b"undertone-vocab1";

impl Tokenizer {
    /// What [`from_kept`](Self::from_kept) reads under the same key; none of a vocabulary that would not come back as
    /// it is.
    #[must_use]
    pub fn to_kept(&self, key: &str) -> Option<Vec<u8>> {
        if !self.merges.is_empty() {
            return None;
        }
        let ids = 0..self.tokens.len() as u32;
        let token = |id| self.tokens.token(id).unwrap_or_default();
        let mut kept = MARK.to_vec();
        let timestamps = &self.special.timestamps;
        let numbers = [key.len() as u32, ids.end, timestamps.start, timestamps.end];
        kept.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        kept.extend(key.as_bytes());
        kept.extend(ids.clone().map(|id| self.tokens.kind(id).code()));
        kept.extend(
            ids.clone()
                .flat_map(|id| (token(id).len() as u32).to_le_bytes()),
        );
        ids.for_each(|id| kept.extend(token(id)));
        kept.extend(Sha256::digest(&kept));
        let again = Self::from_kept(&kept, key)?;
        (again.special == self.special).then_some(kept)
    }

    /// The tokenizer that was kept under this key; none of bytes that are anything else, or damaged.
    #[must_use]
    pub fn from_kept(kept: &[u8], key: &str) -> Option<Self> {
        let (kept, digest) = kept.split_last_chunk::<32>()?;
        if Sha256::digest(kept)[..] != digest[..] {
            return None;
        }
        let mut rest = kept.strip_prefix(MARK)?;
        let [key_len, count, begin, end] = numbers(&mut rest)?;
        let rest = rest.strip_prefix(key.as_bytes())?;
        let count = count as usize;
        if key_len as usize != key.len() || count > TokenBytes::MOST_IDS || begin > end {
            return None;
        }
        let (kinds, rest) = rest.split_at_checked(count)?;
        let (lengths, bytes) = rest.split_at_checked(4 * count)?;
        let lengths = lengths.as_chunks().0.iter();
        let lengths = lengths.map(|length| u32::from_le_bytes(*length));
        let kinds = kinds.iter().map(|code| Kind::of_code(*code));
        let tokens = TokenBytes::joined(kinds, lengths, bytes)?;
        let mut special = SpecialTokens::find(by_content(&tokens, begin..end)).ok()?;
        special.timestamps = begin..end;
        Some(Self {
            holes: holes(&tokens),
            tokens,
            special,
            merges: Vec::new(),
            marks: OnceLock::new(),
        })
    }
}

/// How the special tokens that are no timestamps are looked up.
fn by_content(
    tokens: &TokenBytes,
    timestamps: std::ops::Range<u32>,
) -> impl Fn(&str) -> Option<u32> {
    let ids = (0..tokens.len() as u32).filter(|id| !timestamps.contains(id));
    let special = ids.filter(|id| tokens.kind(*id) == Kind::Special);
    let by_content: HashMap<&[u8], u32> = special
        .filter_map(|id| Some((tokens.token(id)?, id)))
        .collect();
    move |content: &str| by_content.get(content.as_bytes()).copied()
}

/// The next numbers.
fn numbers<const N: usize>(rest: &mut &[u8]) -> Option<[u32; N]> {
    let mut next = || {
        let (number, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(u32::from_le_bytes(*number))
    };
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = next()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabularies() -> Vec<Tokenizer> {
        let openai = [51_864, 51_865, 51_866].map(|n| Tokenizer::openai("x", n).unwrap());
        let pico = std::path::Path::new("models/pico/tokenizer.json");
        let pico = Tokenizer::from_file(pico, None).unwrap();
        openai.into_iter().chain([pico]).collect()
    }

    #[test]
    fn what_is_kept_comes_back() {
        for tokenizer in vocabularies() {
            let kept = tokenizer.to_kept("a key").unwrap();
            let again = Tokenizer::from_kept(&kept, "a key").unwrap();
            assert_eq!(again.special, tokenizer.special);
            assert_eq!(again.holes, tokenizer.holes);
            assert_eq!(again.tokens.len(), tokenizer.tokens.len());
            for id in 0..tokenizer.tokens.len() as u32 + 2 {
                assert_eq!(again.tokens.token(id), tokenizer.tokens.token(id), "{id}");
                assert_eq!(again.tokens.kind(id), tokenizer.tokens.kind(id), "{id}");
            }
            assert_eq!(again.non_speech_tokens(), tokenizer.non_speech_tokens());
            let text = "Ünder the bridge, 橋の下 [♪]";
            assert_eq!(again.encode(text), tokenizer.encode(text));
        }
    }

    #[test]
    fn another_key_and_a_cut_or_damaged_file_are_not_taken() {
        let pico = vocabularies().pop().unwrap();
        let kept = pico.to_kept("a key").unwrap();
        for key in ["a kez", "a ke", "a key ", ""] {
            assert!(Tokenizer::from_kept(&kept, key).is_none(), "{key:?}");
        }
        for len in 0..kept.len() {
            assert!(
                Tokenizer::from_kept(&kept[..len], "a key").is_none(),
                "{len}"
            );
        }
        let longer = [kept.as_slice(), b"x"].concat();
        assert!(Tokenizer::from_kept(&longer, "a key").is_none());
        for at in 0..kept.len() {
            let mut damaged = kept.clone();
            damaged[at] ^= 0x81;
            assert!(Tokenizer::from_kept(&damaged, "a key").is_none(), "{at}");
        }
    }

    #[test]
    fn merges_of_a_file_are_not_kept() {
        let mut pico = vocabularies().pop().unwrap();
        pico.merges = vec![("a".into(), "b".into())];
        assert!(pico.to_kept("a key").is_none());
    }
}
