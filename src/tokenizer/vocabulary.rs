//! Token id → bytes, and what `tokenizer.json` says. In: JSON. Out: the bytes of every token.

use std::borrow::Cow;
use std::fmt;
use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

/// The part of `tokenizer.json` that is used.
#[derive(Deserialize)]
pub(super) struct TokenizerJson<'a> {
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(borrow)]
    pub(super) model: Model<'a>,
}

/// A token that is never split nor made by merging.
#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
}

/// The byte-level BPE model.
#[derive(Deserialize)]
pub(super) struct Model<'a> {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(borrow, deserialize_with = "entries")]
    pub(super) vocab: Vec<Entry<'a>>,
}

/// What `tokenizer.json` says about merging; read by itself, as openai's vocabularies do not need it.
#[derive(Deserialize)]
pub(super) struct MergesJson {
    model: ModelMerges,
}

#[derive(Deserialize)]
struct ModelMerges {
    #[serde(default)]
    merges: Vec<PairJson>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a pair of tokens is written \"a b\" or [\"a\", \"b\"]"
)]
enum PairJson {
    Spaced(String),
    Parts([String; 2]),
}

impl MergesJson {
    /// The pairs of tokens that are joined, the first ones first; `None` where one is not written as two.
    pub(super) fn pairs(self) -> Option<Vec<(String, String)>> {
        let pair = |pair: PairJson| match pair {
            PairJson::Parts([left, right]) => Some((left, right)),
            PairJson::Spaced(both) => {
                let (left, right) = both.split_once(' ')?;
                Some((left.to_owned(), right.to_owned()))
            }
        };
        self.model.merges.into_iter().map(pair).collect()
    }
}

type Entry<'a> = (Cow<'a, str>, u32);

fn entries<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Entry<'de>>, D::Error> {
    struct Entries;
    #[derive(Deserialize)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Entry<'de>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of tokens and their ids")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::with_capacity(52_000);
            while let Some((Key(token), id)) = map.next_entry()? {
                all.push((token, id));
            }
            Ok(all)
        }
    }
    from.deserialize_map(Entries)
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    None,
    /// A piece of text that encoding makes.
    Ordinary,
    /// Text that a fine-tune added: decoded, but never made by encoding.
    Added,
    /// A token that steers the decoder, timestamps among them.
    Special,
}

impl Kind {
    const ALL: [Self; 4] = [Self::None, Self::Ordinary, Self::Added, Self::Special];

    /// As it is kept on disk.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// `None` for a code that no kind has.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// The bytes of every token, one after the other; ids without a token have none.
#[derive(Clone, Default, Debug)]
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    kinds: Vec<Kind>,
}

impl TokenBytes {
    /// The most ids that a vocabulary may have: far beyond Whisper's 51,866, and no danger to memory.
    pub(super) const MOST_IDS: usize = 1 << 20;

    /// No token: a span that lies in no bytes. (openai's token 50256 is there, and empty.)
    const NONE: (u32, u32) = (u32::MAX, u32::MAX);

    /// Sets what an id, which must be below [`Self::MOST_IDS`], stands for.
    pub(super) fn set(&mut self, id: u32, token: &[u8], kind: Kind) {
        let index = id as usize;
        if self.spans.len() <= index {
            self.spans.resize(index + 1, Self::NONE);
            self.kinds.resize(index + 1, Kind::None);
        }
        self.kinds[index] = kind;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(token);
        self.spans[index] = (start as u32, self.bytes.len() as u32);
    }

    /// Of every id what it stands for and the length of its token, and all tokens one after the other; `None` where these
    /// do not fit together.
    pub(super) fn joined(
        kinds: impl ExactSizeIterator<Item = Option<Kind>>,
        lengths: impl Iterator<Item = u32>,
        bytes: &[u8],
    ) -> Option<Self> {
        let mut spans = Vec::with_capacity(kinds.len());
        let mut all = Vec::with_capacity(kinds.len());
        let mut start = 0u32;
        for (kind, length) in kinds.zip(lengths) {
            let (kind, end) = (kind?, start.checked_add(length)?);
            all.push(kind);
            spans.push(match kind {
                Kind::None => Self::NONE,
                _ => (start, end),
            });
            start = end;
        }
        (start as usize == bytes.len()).then(|| Self {
            bytes: bytes.to_vec(),
            spans,
            kinds: all,
        })
    }

    /// The bytes of an id, `None` where no token has it.
    pub(super) fn token(&self, id: u32) -> Option<&[u8]> {
        let (start, end) = *self.spans.get(id as usize)?;
        self.bytes.get(start as usize..end as usize)
    }

    /// What an id stands for.
    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::None)
    }

    /// The ordinary tokens with their ids, ascending.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = (u32, &[u8])> + '_ {
        let ids = (0..self.len() as u32).filter(|id| self.kind(*id) == Kind::Ordinary);
        ids.filter_map(|id| Some((id, self.token(id)?)))
    }

    /// One past the highest id.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// SHA-256 of the ordinary tokens in the order of their ids, each behind id and length.
    pub(super) fn digest(&self) -> String {
        let mut all = Vec::with_capacity(self.bytes.len() + 8 * self.len());
        for (id, token) in self.ordinary() {
            all.extend_from_slice(&id.to_le_bytes());
            all.extend_from_slice(&(token.len() as u32).to_le_bytes());
            all.extend_from_slice(token);
        }
        let digest = Sha256::digest(&all);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// GPT-2's way of writing bytes as printable characters: those that are printable in Latin-1 stand for themselves, the
/// others follow from U+0100 on.
pub(super) struct ByteLevel {
    /// By code point, the byte that the character stands for.
    bytes: [Option<u8>; 256 + 68],
    /// By byte, the character.
    chars: [char; 256],
}

impl ByteLevel {
    pub(super) fn new() -> Self {
        let mut bytes = [None; 256 + 68];
        let mut chars = ['\0'; 256];
        let mut next = 256;
        for byte in 0..=255u8 {
            let is_printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
            let code = if is_printable { u32::from(byte) } else { next };
            next += u32::from(!is_printable);
            bytes[code as usize] = Some(byte);
            chars[usize::from(byte)] = char::from_u32(code).unwrap_or_default();
        }
        Self { bytes, chars }
    }

    /// How the bytes of a token are written.
    pub(super) fn encode(&self, token: &[u8]) -> String {
        token
            .iter()
            .map(|byte| self.chars[usize::from(*byte)])
            .collect()
    }

    /// Bytes as characters.
    pub(super) fn written(&self, bytes: &[u8]) -> String {
        let character = |byte: &u8| {
            let point = self.bytes.iter().position(|known| known == &Some(*byte))?;
            char::from_u32(u32::try_from(point).ok()?)
        };
        bytes.iter().filter_map(character).collect()
    }

    /// The bytes that a token stands for; `None` if a character stands for no byte.
    pub(super) fn decode(&self, token: &str) -> Option<Vec<u8>> {
        token
            .chars()
            .map(|c| *self.bytes.get(c as usize)?)
            .collect()
    }
}

/// The tokens of a file in `models/vocabulary`: a zlib stream of lengths, one byte each, and bytes.
pub(super) fn stored_tokens(stored: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(400_000);
    ZlibDecoder::new(stored).read_to_end(&mut bytes)?;
    let (mut tokens, mut rest) = (Vec::with_capacity(50_257), bytes.as_slice());
    while let [length, more @ ..] = rest {
        let (token, after) = more
            .split_at_checked(usize::from(*length))
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        tokens.push(token.to_vec());
        rest = after;
    }
    Ok(tokens)
}
