//! Tokens cut into words: openai/whisper's `split_to_word_tokens`.

use crate::decoding::strip;
use crate::tokenizer::Tokenizer;

/// Languages that are written without spaces: every whole character is a word of its own.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// Python's `string.punctuation`.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const REPLACEMENT: char = '\u{fffd}';

/// A word's text and its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenWord {
    pub text: String,
    pub tokens: Vec<u32>,
}

pub(super) fn split_to_words(
    tokenizer: &Tokenizer,
    language: &str,
    tokens: &[u32],
) -> Vec<TokenWord> {
    let characters = split_on_characters(tokenizer, tokens);
    if WITHOUT_SPACES.contains(&language) {
        return characters;
    }
    let mut words: Vec<TokenWord> = Vec::new();
    for part in characters {
        let special = part.tokens.first().is_some_and(|t| *t >= tokenizer.eot());
        let begins =
            special || part.text.starts_with(' ') || PUNCTUATION.contains(strip(&part.text));
        match words.last_mut() {
            Some(word) if !begins => {
                word.text.push_str(&part.text);
                word.tokens.extend(part.tokens);
            }
            _ => words.push(part),
        }
    }
    words
}

/// The shortest runs of tokens that are whole characters. What is no UTF-8 in the whole text either stands
/// as it is.
fn split_on_characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<TokenWord> {
    let whole: Vec<char> = tokenizer.decode_with_timestamps(tokens).chars().collect();
    let (mut parts, mut current, mut offset) = (Vec::new(), Vec::new(), 0);
    for &token in tokens {
        current.push(token);
        let text = tokenizer.decode_with_timestamps(&current);
        let broken = text.chars().position(|c| c == REPLACEMENT);
        if broken.is_none_or(|at| whole.get(offset + at) == Some(&REPLACEMENT)) {
            offset += text.chars().count();
            let tokens = std::mem::take(&mut current);
            parts.push(TokenWord { text, tokens });
        }
    }
    parts
}
