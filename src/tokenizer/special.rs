//! The special tokens, found by their content so that reduced vocabularies work too.

use std::ops::Range;

use super::languages::LANGUAGES;

/// Timestamp tokens in every Whisper vocabulary: `<|0.00|>` to `<|30.00|>` in steps of 0.02 s.
pub const N_TIMESTAMPS: usize = 1501;

/// The sizes of openai's vocabularies, and what models have them.
const OPENAI_SIZES: [(usize, &str); 3] = [
    (51_864, "English-only"),
    (51_865, "multilingual"),
    (51_866, "multilingual with Cantonese (large-v3 and later)"),
];

/// What to say where a vocabulary and a network are of different models of openai's; `None` where
/// either has another size.
pub fn mistaken_model(vocabulary: usize, network: usize) -> Option<String> {
    let named = |size| OPENAI_SIZES.iter().find(|(known, _)| *known == size);
    let (vocabulary, network) = (named(vocabulary)?, named(network)?);
    (vocabulary != network).then(|| {
        format!(
            "the tokenizer is of another model: it is {} and has {} tokens, the network is {} and has {}",
            vocabulary.1, vocabulary.0, network.1, network.0
        )
    })
}

/// Ids of the tokens that steer the decoder. Names are openai/whisper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpecialTokens {
    pub(super) eot: u32,
    pub(super) sot: u32,
    pub(super) sot_prev: u32,
    pub(super) no_timestamps: u32,
    /// `<|0.00|>` to `<|30.00|>`; empty where the vocabulary has none.
    pub(super) timestamps: Range<u32>,
    pub(super) translate: Option<u32>,
    pub(super) transcribe: Option<u32>,
    pub(super) sot_lm: Option<u32>,
    pub(super) no_speech: Option<u32>,
    /// Language codes with their tokens, in the order of the tokens.
    pub(super) languages: Vec<(&'static str, u32)>,
}

impl SpecialTokens {
    /// Picks the ids out of a way to look them up by content; where the timestamps are is left open.
    ///
    /// On failure the content of the first missing token is returned.
    pub(super) fn find(id_of: impl Fn(&str) -> Option<u32>) -> Result<Self, &'static str> {
        let need = |content: &'static str| id_of(content).ok_or(content);
        let mut languages: Vec<_> = LANGUAGES
            .iter()
            .filter_map(|(code, _)| Some((*code, id_of(&format!("<|{code}|>"))?)))
            .collect();
        languages.sort_unstable_by_key(|(_, id)| *id);
        Ok(Self {
            eot: need("<|endoftext|>")?,
            sot: need("<|startoftranscript|>")?,
            sot_prev: need("<|startofprev|>")?,
            no_timestamps: need("<|notimestamps|>")?,
            timestamps: 0..0,
            translate: id_of("<|translate|>"),
            transcribe: id_of("<|transcribe|>"),
            sot_lm: id_of("<|startoflm|>"),
            // openai calls it nospeech; the older Hugging Face conversions call it nocaptions.
            no_speech: id_of("<|nospeech|>").or_else(|| id_of("<|nocaptions|>")),
            languages,
        })
    }
}

/// The special tokens as openai/whisper numbers them: straight after `n_ordinary` ordinary tokens, timestamps left out.
pub(super) fn openai_layout(n_ordinary: u32, n_languages: usize) -> Vec<(String, u32)> {
    let head = ["<|endoftext|>", "<|startoftranscript|>"].map(String::from);
    let languages = LANGUAGES
        .iter()
        .take(n_languages)
        .map(|(code, _)| format!("<|{code}|>"));
    let tail = [
        "translate",
        "transcribe",
        "startoflm",
        "startofprev",
        "nospeech",
        "notimestamps",
    ];
    let tail = tail.iter().map(|name| format!("<|{name}|>"));
    head.into_iter()
        .chain(languages)
        .chain(tail)
        .zip(n_ordinary..)
        .collect()
}

/// How many of openai's special tokens are neither languages nor timestamps.
pub(super) const N_CONTROL: usize = 8;

/// The content of the timestamp token `index` steps after `<|0.00|>`.
pub(super) fn timestamp_content(index: usize) -> String {
    format!("<|{}.{:02}|>", index / 50, index % 50 * 2)
}
