//! Which two tokens make which: the merges that a byte-level BPE model joins pieces by.
//!
//! In openai's vocabularies a token's id is also its rank, and `tiktoken` joins whatever makes the lowest rank, leftmost
//! first. The merges behind that follow from the tokens: joining a token's bytes in this order by lower ranks alone ends
//! with the two parts that make it, its pair. Where a text comes to a token, nothing was joined across the token's ends
//! before, and inside them the same steps were taken, whatever is around: so to join pairs by rank, leftmost first, is to
//! do what `tiktoken` does.
//!
//! If more than two parts are left of some token, ids are no ranks. Then the file's own merges serve; where there are none,
//! such a token is found where it is a whole piece, and is not made otherwise.

use tokenizers::models::bpe::MergeMap;

/// Longer tokens are made as whole pieces only; openai's have 128 bytes at most.
const LONGEST: usize = 256;

/// Bytes that the vocabulary has no token for get ids from here on.
pub(super) const UNKNOWN: u32 = u32::MAX - 256;

/// Marks a pair that makes no token.
const NOTHING: u32 = u32::MAX;

/// The pairs of a vocabulary whose ids are ranks.
pub(super) struct Ranked {
    /// Both parts of every token that joining makes, lowest rank first.
    pub(super) pairs: Vec<(u32, u32)>,
    /// Whether that is every token of more than one byte: if not, ids are no ranks.
    pub(super) is_complete: bool,
}

impl Ranked {
    /// Finds the pairs of ordinary tokens, which come with their ids, ascending.
    ///
    /// They may be a part of a vocabulary that has, with a token, all tokens inside it.
    pub(super) fn new(ordinary: &[(u32, &[u8])]) -> Self {
        let bytes = byte_ids(ordinary);
        let mut known = MergeMap::with_capacity(ordinary.len());
        let (mut pairs, mut is_complete) = (Vec::with_capacity(ordinary.len()), true);
        let mut joining = Joining::default();
        for (id, token) in ordinary.iter().filter(|(_, token)| token.len() > 1) {
            match joining.parts(token.iter().map(|byte| bytes[usize::from(*byte)]), &known) {
                [left, right] => {
                    known.insert((*left, *right), (*id, *id));
                    pairs.push((*left, *right));
                }
                // The same bytes under another id: only the first can be made.
                [_first] => {}
                _ => is_complete = false,
            }
        }
        Self { pairs, is_complete }
    }
}

/// The ids of all bytes, of those without a token too.
pub(super) fn byte_ids(ordinary: &[(u32, &[u8])]) -> [u32; 256] {
    let mut ids = std::array::from_fn(|byte| UNKNOWN + byte as u32);
    for (id, token) in ordinary.iter().rev() {
        if let [byte] = token {
            ids[usize::from(*byte)] = *id;
        }
    }
    ids
}

/// The joining of one token's bytes; keeps its memory for the next one.
#[derive(Default)]
struct Joining {
    parts: Vec<u32>,
    /// What each part makes with the next one.
    made: Vec<u32>,
}

impl Joining {
    /// The parts that are left when every pair is joined that can be; none of a token that is too long.
    fn parts(&mut self, bytes: impl ExactSizeIterator<Item = u32>, known: &MergeMap) -> &[u32] {
        let make = |left: u32, right: u32| known.get(&(left, right)).map_or(NOTHING, |made| made.1);
        self.parts.clear();
        self.made.clear();
        if bytes.len() > LONGEST {
            return &[];
        }
        self.parts.extend(bytes);
        let pairs = self.parts.windows(2).map(|pair| make(pair[0], pair[1]));
        self.made.extend(pairs);
        while let Some((at, id)) = self
            .made
            .iter()
            .copied()
            .enumerate()
            .min_by_key(|(_, id)| *id)
            && id != NOTHING
        {
            self.parts[at] = id;
            self.parts.remove(at + 1);
            self.made.remove(at);
            if let Some(next) = self.parts.get(at + 1) {
                self.made[at] = make(id, *next);
            }
            if at > 0 {
                self.made[at - 1] = make(self.parts[at - 1], id);
            }
        }
        &self.parts
    }
}
