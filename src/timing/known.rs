//! A text that is known beforehand and what was heard: which words are the same.

use std::collections::HashMap;

use super::split::split_to_words;
use super::words::merge_punctuations;
use crate::decoding::WordTiming;
use crate::timing::Punctuation;
use crate::tokenizer::Tokenizer;

/// Marks behind which a sentence ends where white space follows.
const SENTENCE_ENDS: &str = ".!?…";
/// Marks behind which one ends whatever follows.
const FULL_WIDTH_ENDS: &str = "。！？";
/// So many neighbours on either side are looked at to tell whether a word is where it seems to be.
const NEIGHBOURS: usize = 3;

/// A word of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownWord {
    /// With its leading space and its punctuation.
    pub text: String,
    pub tokens: Vec<u32>,
    /// Which of the text's sentences it is in.
    pub sentence: usize,
}

/// The text's words, cut as the words of a transcript are.
#[must_use]
pub fn known_words(
    tokenizer: &Tokenizer,
    language: &str,
    text: &str,
    marks: Punctuation<'_>,
) -> Vec<KnownWord> {
    let mut known = Vec::new();
    for (sentence, text) in sentences(text).into_iter().enumerate() {
        let tokens = tokenizer.encode(&format!(" {text}"));
        let timing = |word: super::split::TokenWord| WordTiming {
            word: word.text,
            tokens: word.tokens,
            start: 0.0,
            end: 0.0,
            probability: 0.0,
        };
        let words = split_to_words(tokenizer, language, &tokens);
        let mut words: Vec<_> = words.into_iter().map(timing).collect();
        merge_punctuations(&mut words, marks.prepended, marks.appended);
        words.retain(|word| !word.word.is_empty());
        known.extend(words.into_iter().map(|word| KnownWord {
            text: word.word,
            tokens: word.tokens,
            sentence,
        }));
    }
    known
}

/// Sentences: a line ends one, and so does `.`, `!` or `?` before white space.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        let mut chars = line.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let space_follows = chars.peek().is_none_or(|(_, next)| next.is_whitespace());
            let ends = FULL_WIDTH_ENDS.contains(c) || SENTENCE_ENDS.contains(c) && space_follows;
            if ends {
                found.push(line[start..at + c.len_utf8()].trim());
                start = at + c.len_utf8();
            }
        }
        found.push(line[start..].trim());
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// What two writings of a word have in common: its letters and digits, in lower case.
#[must_use]
pub fn bare(word: &str) -> String {
    let letters = word.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// For each known word the heard one that it is; both are [`bare`]. The longest common subsequence, less what
/// stands alone among words that were not heard: those are the same by chance.
#[must_use]
pub fn same_words(known: &[String], heard: &[String]) -> Vec<Option<usize>> {
    // Numbers in the words' place: hours of speech are some hundred million comparisons.
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut number = |word| {
        let next = numbers.len() as u32;
        *numbers.entry(word).or_insert(next)
    };
    let [known_ids, heard_ids] = [known, heard].map(|words| {
        words
            .iter()
            .map(|w| number(w.as_str()))
            .collect::<Vec<u32>>()
    });
    let mut same = vec![None; known.len()];
    common(&known_ids, &heard_ids, (0, 0), &mut same);
    for (place, word) in same.iter_mut().zip(known) {
        *place = place.filter(|_| !word.is_empty());
    }
    let sure = |i: usize| {
        let around = i.saturating_sub(NEIGHBOURS)..known.len().min(i + NEIGHBOURS + 1);
        let near = |j: &usize| match (same[i], same[*j]) {
            (Some(a), Some(b)) => a.abs_diff(b) <= 2 * NEIGHBOURS,
            _ => false,
        };
        2 * around.clone().filter(near).count() > around.len()
    };
    (0..known.len())
        .map(|i| same[i].filter(|_| sure(i)))
        .collect()
}

/// Hirschberg's way to the longest common subsequence, in memory for one row.
fn common(a: &[u32], b: &[u32], (from_a, from_b): (usize, usize), same: &mut [Option<usize>]) {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (0..head).for_each(|i| same[from_a + i] = Some(from_b + i));
    let (a, b) = (&a[head..], &b[head..]);
    let (from_a, from_b) = (from_a + head, from_b + head);
    let tail = a.iter().rev().zip(b.iter().rev());
    let tail = tail.take_while(|(a, b)| a == b).count();
    let (a, rest_a) = a.split_at(a.len() - tail);
    let (b, _) = b.split_at(b.len() - tail);
    (0..rest_a.len()).for_each(|i| same[from_a + a.len() + i] = Some(from_b + b.len() + i));
    if a.is_empty() || b.is_empty() {
        return;
    }
    if let [word] = a {
        same[from_a] = b
            .iter()
            .position(|other| other == word)
            .map(|at| from_b + at);
        return;
    }
    let middle = a.len() / 2;
    let before = lengths(a[..middle].iter(), b.iter());
    let behind = lengths(a[middle..].iter().rev(), b.iter().rev());
    let total = |at: &usize| before[*at] + behind[b.len() - at];
    let cut = (0..=b.len()).max_by_key(total).unwrap_or(0);
    common(&a[..middle], &b[..cut], (from_a, from_b), same);
    common(
        &a[middle..],
        &b[cut..],
        (from_a + middle, from_b + cut),
        same,
    );
}

/// The length of the longest common subsequence with each beginning of `b`.
fn lengths<'a>(
    a: impl Iterator<Item = &'a u32>,
    b: impl Iterator<Item = &'a u32> + Clone,
) -> Vec<usize> {
    let mut row = vec![0; b.clone().count() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.clone().enumerate() {
            let above = row[j + 1];
            row[j + 1] = match word == other {
                true => diagonal + 1,
                false => above.max(row[j]),
            };
            diagonal = above;
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(bare).collect()
    }

    #[test]
    fn sentences_end_at_marks_and_lines() {
        let cases: [(&str, &[&str]); 4] = [
            (
                "One, two. Three? 3.5 four",
                &["One, two.", "Three?", "3.5 four"],
            ),
            ("\n la la\n\nlu ", &["la la", "lu"]),
            ("はい。いいえ", &["はい。", "いいえ"]),
            (" \n ", &[]),
        ];
        for (text, due) in cases {
            assert_eq!(sentences(text), due, "{text:?}");
        }
    }

    #[test]
    fn the_same_words_are_found_in_order() {
        let due = |found: &[usize]| found.iter().map(|i| Some(*i)).collect::<Vec<_>>();
        let heard = words("well the quick brown fox jumps over the dog");
        let same = same_words(&words("The quick, brown fox jumps over the dog."), &heard);
        assert_eq!(same, due(&[1, 2, 3, 4, 5, 6, 7, 8]));
        let same = same_words(&words("the quick red fox jumped over the dog"), &heard);
        let places: Vec<_> = same.iter().map(|place| place.is_some()).collect();
        assert_eq!(places, [true, true, false, true, false, true, true, true]);
        assert!(
            same_words(&words("a dog is not the only friend of man"), &heard)
                .iter()
                .all(Option::is_none),
            "by chance"
        );
        assert_eq!(same_words(&words("x"), &[]), [None]);
    }

    #[test]
    fn a_common_subsequence_is_as_long_as_the_plain_tables() {
        let number = |i: usize, seed: usize| ((i * 7919 + seed * 31 + i * i) % 5) as u32;
        for seed in 0..60 {
            let a: Vec<u32> = (0..seed % 13).map(|i| number(i, seed)).collect();
            let b: Vec<u32> = (0..seed % 11).map(|i| number(i, seed + 9)).collect();
            let mut same = vec![None; a.len()];
            common(&a, &b, (0, 0), &mut same);
            let places: Vec<usize> = same.iter().flatten().copied().collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
            let equal = same
                .iter()
                .zip(&a)
                .all(|(j, a)| j.is_none_or(|j| b[j] == *a));
            assert!(equal, "{seed}");
            assert_eq!(places.len(), lengths(a.iter(), b.iter())[b.len()], "{seed}");
        }
    }
}
