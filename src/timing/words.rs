//! Words with their times and probabilities, counted from the window's start.

use super::split::{TokenWord, split_to_words};
use crate::decoding::{Alignment, WordTiming, strip};
use crate::dims::{FRAMES_PER_SECOND, INPUT_STRIDE};
use crate::tokenizer::Tokenizer;

/// The words of a window: openai/whisper's `find_alignment`.
#[must_use]
pub fn find_words(tokenizer: &Tokenizer, language: &str, alignment: &Alignment) -> Vec<WordTiming> {
    let mut tokens = alignment.text_tokens.clone();
    tokens.push(tokenizer.eot());
    let mut words = split_to_words(tokenizer, language, &tokens);
    // The last one is the end of text.
    words.pop();
    let starts = &alignment.starts;
    if words.is_empty() || starts.is_empty() {
        return Vec::new();
    }
    let time = |token: usize| {
        let last = starts.len().saturating_sub(1);
        starts[token.min(last)] as f64 / (FRAMES_PER_SECOND / INPUT_STRIDE) as f64
    };
    let mut first = 0;
    let mut timing = |TokenWord { text, tokens }: TokenWord| {
        let own = first..first + tokens.len();
        first = own.end;
        let probabilities = &alignment.probabilities[own.clone()];
        let sum: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
        WordTiming {
            word: text,
            start: time(own.start),
            end: time(own.end),
            probability: sum / tokens.len() as f64,
            tokens,
        }
    };
    words.into_iter().map(&mut timing).collect()
}

/// Punctuation of `prepended` joins the word behind it, of `appended` the word before it:
/// openai/whisper's `merge_punctuations`. Whether a mark is in a list is asked as Python's `in` asks of
/// strings: of any stretch of it.
pub(super) fn merge_punctuations(words: &mut [WordTiming], prepended: &str, appended: &str) {
    let mut following = words.len().saturating_sub(1);
    for previous in (0..words.len().saturating_sub(1)).rev() {
        let mark = &words[previous].word;
        if mark.starts_with(' ') && prepended.contains(strip(mark)) {
            join(words, previous, following, following);
        } else {
            following = previous;
        }
    }
    let mut previous = 0;
    for following in 1..words.len() {
        let mark = &words[following].word;
        if !words[previous].word.ends_with(' ') && appended.contains(mark.as_str()) {
            join(words, previous, following, previous);
        } else {
            previous = following;
        }
    }
}

/// Joins two words into the one at `to`; the other is left empty.
fn join(words: &mut [WordTiming], first: usize, second: usize, to: usize) {
    let take = |word: &mut WordTiming| {
        (
            std::mem::take(&mut word.word),
            std::mem::take(&mut word.tokens),
        )
    };
    let (mut text, mut tokens) = take(&mut words[first]);
    let (behind, more) = take(&mut words[second]);
    text.push_str(&behind);
    tokens.extend(more);
    (words[to].word, words[to].tokens) = (text, tokens);
}
