//! What all normalizers for English are made of: patterns and what takes their place, and words.

use regex::Regex;

use super::pattern;

/// Patterns with what they are replaced by, in order.
pub(super) struct Rules(Vec<(Regex, &'static str)>);

impl Rules {
    pub(super) fn new(rules: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        Self(
            rules
                .into_iter()
                .map(|(from, to)| (pattern(from), to))
                .collect(),
        )
    }

    pub(super) fn applied(&self, mut text: String) -> String {
        for (from, to) in &self.0 {
            if let std::borrow::Cow::Owned(changed) = from.replace_all(&text, *to) {
                text = changed;
            }
        }
        text
    }
}

/// The words of a text, as Python's `split` finds them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
        .filter(|word| !word.is_empty())
}
