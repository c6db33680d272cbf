//! The rules for every language: no brackets, no symbols, small letters.

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

use super::pattern;

/// White space as Python's `\s` has it: Unicode's, and the four separators below the space.
pub(super) const SPACES: &str = r"[\s\x1c-\x1f]+";

/// Letters that no Unicode normalization takes apart, and what they become without their strokes.
const ADDITIONAL_DIACRITICS: [(char, &str); 16] = [
    ('œ', "oe"),
    ('Œ', "OE"),
    ('ø', "o"),
    ('Ø', "O"),
    ('æ', "ae"),
    ('Æ', "AE"),
    ('ß', "ss"),
    ('ẞ', "SS"),
    ('đ', "d"),
    ('Đ', "D"),
    ('ð', "d"),
    ('Ð', "D"),
    ('þ', "th"),
    ('Þ', "th"),
    ('ł', "l"),
    ('Ł', "L"),
];

/// Removes what stands in brackets, which no speaker said.
pub(super) struct Brackets {
    square: Regex,
    round: Regex,
}

impl Brackets {
    pub(super) fn new() -> Self {
        Self {
            square: pattern(r"[<\[][^>\]]*[>\]]"),
            round: pattern(r"\(([^)]+?)\)"),
        }
    }

    pub(super) fn removed(&self, text: &str) -> String {
        let text = self.square.replace_all(text, "");
        self.round.replace_all(&text, "").into_owned()
    }
}

/// Drops diacritics and puts a space for every other mark, symbol and punctuation sign, but for those in `keep`.
pub(super) struct Diacritics {
    nonspacing: Regex,
    symbols: Regex,
}

impl Diacritics {
    pub(super) fn keeping(keep: &str) -> Self {
        let kept = if keep.is_empty() {
            String::new()
        } else {
            format!("--[{keep}]")
        };
        Self {
            nonspacing: pattern(r"\p{Mn}"),
            symbols: pattern(&format!(r"[[\p{{M}}\p{{S}}\p{{P}}]{kept}]")),
        }
    }

    pub(super) fn removed(&self, text: &str) -> String {
        let mut plain = String::with_capacity(text.len());
        for c in text.nfkd() {
            match ADDITIONAL_DIACRITICS
                .iter()
                .find(|(letter, _)| *letter == c)
            {
                Some((_, letters)) => plain.push_str(letters),
                None => plain.push(c),
            }
        }
        let plain = self.nonspacing.replace_all(&plain, "");
        self.symbols.replace_all(&plain, " ").into_owned()
    }
}

/// openai/whisper's normalizer for languages other than English.
///
/// Marks count as symbols here, as they do there: Brahmic vowel signs become spaces.
pub struct BasicTextNormalizer {
    brackets: Brackets,
    symbols: Regex,
    diacritics: Option<Diacritics>,
    split_letters: bool,
    spaces: Regex,
}

impl BasicTextNormalizer {
    /// Whether diacritics are dropped too, and whether every letter becomes a word.
    #[must_use]
    pub fn new(remove_diacritics: bool, split_letters: bool) -> Self {
        Self {
            brackets: Brackets::new(),
            symbols: pattern(r"[\p{M}\p{S}\p{P}]"),
            diacritics: remove_diacritics.then(|| Diacritics::keeping("")),
            split_letters,
            spaces: pattern(SPACES),
        }
    }

    /// The text in small letters without brackets, symbols and punctuation. A space may be left at its ends.
    #[must_use]
    pub fn normalize(&self, text: &str) -> String {
        let text = self.brackets.removed(&text.to_lowercase());
        let text = match &self.diacritics {
            Some(diacritics) => diacritics.removed(&text),
            None => self
                .symbols
                .replace_all(&text.nfkc().collect::<String>(), " ")
                .into_owned(),
        };
        let mut text = text.to_lowercase();
        if self.split_letters {
            text = text.graphemes(true).collect::<Vec<_>>().join(" ");
        }
        self.spaces.replace_all(&text, " ").into_owned()
    }
}
