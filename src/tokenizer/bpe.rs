//! Text → tokens: byte-level BPE as `tiktoken` does it for openai/whisper, where a token's id is also its rank.
//!
//! The `merges` of a `tokenizer.json` are not used: in the multilingual files that are about, they never make some tokens
//! that openai's own encoder makes (`'ve`, for one), so that a prompt would reach the model in other pieces.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use fancy_regex::Regex;

use super::vocabulary::{Kind, TokenBytes};

/// GPT-2's pieces, which no token crosses: contractions, words, numbers, other signs, white space.
const PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// An encoder over the ordinary tokens: special tokens are unknown to it, so their text is ordinary text.
pub(super) struct Encoder {
    pieces: Regex,
    ranks: HashMap<Vec<u8>, u32>,
}

impl Encoder {
    /// Builds from the ordinary tokens.
    pub(super) fn new(tokens: &TokenBytes) -> Self {
        let ordinary = (0..tokens.len() as u32).filter(|id| tokens.kind(*id) == Kind::Ordinary);
        let mut ranks = HashMap::with_capacity(tokens.len());
        ranks.extend(ordinary.filter_map(|id| Some((tokens.token(id)?.to_vec(), id))));
        let pieces = Regex::new(PIECES).expect("the pattern is constant and tested");
        Self { pieces, ranks }
    }

    /// The tokens of a text. Bytes that the vocabulary has no token for are dropped.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in self.pieces.find_iter(text).map_while(Result::ok) {
            let bytes = piece.as_str().as_bytes();
            match self.ranks.get(bytes) {
                Some(id) => ids.push(*id),
                None => self.merge(bytes, &mut ids),
            }
        }
        ids
    }

    /// Joins the pair of lowest rank, leftmost first, until no pair is a token.
    ///
    /// A heap instead of `tiktoken`'s repeated scan, so that one long word costs no quadratic time.
    fn merge(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let n = piece.len();
        // `end[i]` is where the part that starts at `i` ends; 0 once it belongs to the part before it.
        let mut end: Vec<usize> = (1..=n).collect();
        let mut previous: Vec<usize> = (0..n).map(|i| i.saturating_sub(1)).collect();
        let mut heap = BinaryHeap::new();
        let pair = |start: usize, stop: usize| {
            self.ranks
                .get(&piece[start..stop])
                .map(|rank| Reverse((*rank, start, stop)))
        };
        heap.extend((0..n.saturating_sub(1)).filter_map(|i| pair(i, i + 2)));
        while let Some(Reverse((_, start, stop))) = heap.pop() {
            let middle = end[start];
            if middle == 0 || middle >= stop || end[middle] != stop {
                continue; // a part of this pair has been joined to another since
            }
            end[start] = stop;
            end[middle] = 0;
            if stop < n {
                previous[stop] = start;
                heap.extend(pair(start, end[stop]));
            }
            if start > 0 {
                heap.extend(pair(previous[start], stop));
            }
        }
        let mut start = 0;
        while start < n {
            ids.extend(self.ranks.get(&piece[start..end[start]]));
            start = end[start];
        }
    }
}
