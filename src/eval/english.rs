//! The rules for English: contractions and titles spelled out, numbers in digits, American spelling.

use std::collections::HashMap;

use super::basic::{Brackets, Diacritics, SPACES};
use super::numbers::NumberNormalizer;
use super::rules::{Rules, words};

/// Symbols that may belong to a number.
const NUMERIC_SYMBOLS: &str = ".%$¢€£";

/// British spellings and their American ones, a pair to a line.
const SPELLINGS: &str = include_str!("spelling.tsv");

/// What is heard in many spellings, and the one it is compared in; applied in this order.
const REPLACEMENTS: [(&str, &str); 55] = [
    // hesitations
    (r"\b(hmm|mm|mhm|mmm|uh|um)\b", ""),
    (r"[\s\x1c-\x1f]+'", "'"),
    // whole words
    (r"\bwon't\b", "will not"),
    (r"\bcan't\b", "can not"),
    (r"\blet's\b", "let us"),
    (r"\bain't\b", "aint"),
    (r"\by'all\b", "you all"),
    (r"\bwanna\b", "want to"),
    (r"\bkinda\b", "kind of"),
    (r"\bsorta\b", "sort of"),
    (r"\bdunno\b", "do not know"),
    (r"\bgotta\b", "got to"),
    (r"\bgonna\b", "going to"),
    (r"\bi'ma\b", "i am going to"),
    (r"\bimma\b", "i am going to"),
    (r"\bwoulda\b", "would have"),
    (r"\bcoulda\b", "could have"),
    (r"\bshoulda\b", "should have"),
    (r"\bcause\b", "because"),
    (r"\bma'am\b", "madam"),
    // titles
    (r"\bmr\b", "mister "),
    (r"\bmrs\b", "missus "),
    (r"\bst\b", "saint "),
    (r"\bdr\b", "doctor "),
    (r"\bprof\b", "professor "),
    (r"\bcapt\b", "captain "),
    (r"\bgov\b", "governor "),
    (r"\bald\b", "alderman "),
    (r"\bgen\b", "general "),
    (r"\bsen\b", "senator "),
    (r"\brep\b", "representative "),
    (r"\bpres\b", "president "),
    (r"\brev\b", "reverend "),
    (r"\bhon\b", "honorable "),
    (r"\basst\b", "assistant "),
    (r"\bassoc\b", "associate "),
    (r"\blt\b", "lieutenant "),
    (r"\bcol\b", "colonel "),
    (r"\bjr\b", "junior "),
    (r"\bsr\b", "senior "),
    (r"\besq\b", "esquire "),
    // a participle tells what the short verb stands for ("'s done" may be either)
    (r"'d been\b", " had been"),
    (r"'s been\b", " has been"),
    (r"'d gone\b", " had gone"),
    (r"'s gone\b", " has gone"),
    (r"'d done\b", " had done"),
    (r"'s got\b", " has got"),
    // the other contractions
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'s\b", " is"),
    (r"'d\b", " would"),
    (r"'ll\b", " will"),
    (r"'t\b", " not"),
    (r"'ve\b", " have"),
    (r"'m\b", " am"),
];

/// Commas inside numbers and full stops that belong to none.
const PUNCTUATION: [(&str, &str); 2] = [(r"(\d),(\d)", "$1$2"), (r"\.([^0-9]|$)", " $1")];

/// Numeric symbols that stand by no number after all, and runs of spaces.
const LEFT_OVER: [(&str, &str); 3] = [
    (r"[.$¢€£]([^0-9])", " $1"),
    (r"([^0-9])%", "$1 "),
    (SPACES, " "),
];

/// openai/whisper's normalizer for English, as the package `whisper-normalizer` carries it on (with `kinda`, `sorta`,
/// `dunno` and `cause` among the contractions).
pub struct EnglishTextNormalizer {
    brackets: Brackets,
    spelled_out: Rules,
    diacritics: Diacritics,
    numbers: NumberNormalizer,
    spellings: HashMap<&'static str, &'static str>,
    left_over: Rules,
}

impl Default for EnglishTextNormalizer {
    fn default() -> Self {
        Self::new()
    }
}

impl EnglishTextNormalizer {
    /// Compiles the rules.
    #[must_use]
    pub fn new() -> Self {
        Self {
            brackets: Brackets::new(),
            spelled_out: Rules::new(REPLACEMENTS.into_iter().chain(PUNCTUATION)),
            diacritics: Diacritics::keeping(NUMERIC_SYMBOLS),
            numbers: NumberNormalizer::new(),
            spellings: SPELLINGS
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .collect(),
            left_over: Rules::new(LEFT_OVER),
        }
    }

    /// The text in small letters with one spelling for what may be written in several.
    #[must_use]
    pub fn normalize(&self, text: &str) -> String {
        let text = self.brackets.removed(&text.to_lowercase());
        let text = self.diacritics.removed(&self.spelled_out.applied(text));
        let text = self.numbers.normalize(&text);
        let american = words(&text).map(|word| self.spellings.get(word).copied().unwrap_or(word));
        self.left_over
            .applied(american.collect::<Vec<_>>().join(" "))
    }
}
