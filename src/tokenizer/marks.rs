//! The tokens of what stands for no speech, found once: encoding needs a moment, and every window asks.

use super::encoder::Encoder;

/// Marks that Whisper writes around what is not speech; each is suppressed where it is one token.
const SYMBOLS: &str = "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 \
    << >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
/// Musical signs (U+2669 to U+266F), whose first token is suppressed even where they are several.
const MUSICAL_SIGNS: &str = "♩ ♪ ♫ ♬ ♭ ♮ ♯";
/// Hyphens and single quotes are kept inside words and suppressed where they start one.
const STARTS: [&str; 2] = [" -", " '"];

/// What openai/whisper keeps from being sampled where it is asked to.
pub(super) struct Marks {
    /// A lone space.
    pub(super) blank: Vec<u32>,
    /// `non_speech_tokens`, sorted.
    pub(super) non_speech: Vec<u32>,
}

impl Marks {
    /// Encodes them all, with an encoder built for a text that has them.
    pub(super) fn new(encoder: impl FnOnce(&str) -> Encoder) -> Self {
        let encoder = encoder(&format!(" {SYMBOLS} {MUSICAL_SIGNS}{}", STARTS.concat()));
        let both = |marks: &'static str| {
            let marks = marks.split(' ');
            marks.flat_map(|mark| [mark.to_owned(), format!(" {mark}")])
        };
        let only = |text: String| match encoder.encode(&text).as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        let first = |text: String| encoder.encode(&text).first().copied();
        let begun = both(MUSICAL_SIGNS).chain(STARTS.map(String::from));
        let mut non_speech: Vec<u32> = both(SYMBOLS).filter_map(only).collect();
        non_speech.extend(begun.filter_map(first));
        non_speech.sort_unstable();
        non_speech.dedup();
        Self {
            blank: encoder.encode(" "),
            non_speech,
        }
    }
}
