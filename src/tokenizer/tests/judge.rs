//! Byte-level BPE as `tiktoken` does it for openai/whisper, written out: the judge of the encoder.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use fancy_regex::Regex;

use crate::tokenizer::vocabulary::TokenBytes;

/// GPT-2's pieces, which no token crosses: contractions, words, numbers, other signs, white space.
const PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Knows the ordinary tokens; a token's id is its rank.
pub struct Judge {
    pieces: Regex,
    ranks: HashMap<Vec<u8>, u32>,
}

impl Judge {
    pub fn new(tokens: &TokenBytes) -> Self {
        let mut ranks = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.ordinary() {
            ranks.entry(token.to_vec()).or_insert(id);
        }
        let pieces = Regex::new(PIECES).expect("the pattern is constant");
        Self { pieces, ranks }
    }

    /// The tokens of a text. Bytes that the vocabulary has no token for are dropped.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in self.pieces.find_iter(text) {
            let bytes = piece.expect("short texts").as_str().as_bytes();
            match self.ranks.get(bytes) {
                Some(id) => ids.push(*id),
                None => self.merge(bytes, &mut ids),
            }
        }
        ids
    }

    /// Joins the pair of lowest rank, leftmost first, until no pair is a token.
    fn merge(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let n = piece.len();
        // `end[i]` is where the part that starts at `i` ends; 0 once it belongs to the part before it.
        let mut end: Vec<usize> = (1..=n).collect();
        let mut previous: Vec<usize> = (0..n).map(|i| i.saturating_sub(1)).collect();
        let mut heap = BinaryHeap::new();
        let pair = |start: usize, stop: usize| {
            let rank = self.ranks.get(&piece[start..stop]);
            rank.map(|rank| Reverse((*rank, start, stop)))
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
