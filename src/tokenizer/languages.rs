//! The languages that Whisper's vocabularies have tokens for, in the order of those tokens.

use crate::error::{Error, Result};

/// Code and English name of each language. `yue` came with large-v3; older vocabularies end before it.
pub const LANGUAGES: [(&str, &str); 100] = [
    ("en", "english"),
    ("zh", "chinese"),
    ("de", "german"),
    ("es", "spanish"),
    ("ru", "russian"),
    ("ko", "korean"),
    ("fr", "french"),
    ("ja", "japanese"),
    ("pt", "portuguese"),
    ("tr", "turkish"),
    ("pl", "polish"),
    ("ca", "catalan"),
    ("nl", "dutch"),
    ("ar", "arabic"),
    ("sv", "swedish"),
    ("it", "italian"),
    ("id", "indonesian"),
    ("hi", "hindi"),
    ("fi", "finnish"),
    ("vi", "vietnamese"),
    ("he", "hebrew"),
    ("uk", "ukrainian"),
    ("el", "greek"),
    ("ms", "malay"),
    ("cs", "czech"),
    ("ro", "romanian"),
    ("da", "danish"),
    ("hu", "hungarian"),
    ("ta", "tamil"),
    ("no", "norwegian"),
    ("th", "thai"),
    ("ur", "urdu"),
    ("hr", "croatian"),
    ("bg", "bulgarian"),
    ("lt", "lithuanian"),
    ("la", "latin"),
    ("mi", "maori"),
    ("ml", "malayalam"),
    ("cy", "welsh"),
    ("sk", "slovak"),
    ("te", "telugu"),
    ("fa", "persian"),
    ("lv", "latvian"),
    ("bn", "bengali"),
    ("sr", "serbian"),
    ("az", "azerbaijani"),
    ("sl", "slovenian"),
    ("kn", "kannada"),
    ("et", "estonian"),
    ("mk", "macedonian"),
    ("br", "breton"),
    ("eu", "basque"),
    ("is", "icelandic"),
    ("hy", "armenian"),
    ("ne", "nepali"),
    ("mn", "mongolian"),
    ("bs", "bosnian"),
    ("kk", "kazakh"),
    ("sq", "albanian"),
    ("sw", "swahili"),
    ("gl", "galician"),
    ("mr", "marathi"),
    ("pa", "punjabi"),
    ("si", "sinhala"),
    ("km", "khmer"),
    ("sn", "shona"),
    ("yo", "yoruba"),
    ("so", "somali"),
    ("af", "afrikaans"),
    ("oc", "occitan"),
    ("ka", "georgian"),
    ("be", "belarusian"),
    ("tg", "tajik"),
    ("sd", "sindhi"),
    ("gu", "gujarati"),
    ("am", "amharic"),
    ("yi", "yiddish"),
    ("lo", "lao"),
    ("uz", "uzbek"),
    ("fo", "faroese"),
    ("ht", "haitian creole"),
    ("ps", "pashto"),
    ("tk", "turkmen"),
    ("nn", "nynorsk"),
    ("mt", "maltese"),
    ("sa", "sanskrit"),
    ("lb", "luxembourgish"),
    ("my", "myanmar"),
    ("bo", "tibetan"),
    ("tl", "tagalog"),
    ("mg", "malagasy"),
    ("as", "assamese"),
    ("tt", "tatar"),
    ("haw", "hawaiian"),
    ("ln", "lingala"),
    ("ha", "hausa"),
    ("ba", "bashkir"),
    ("jw", "javanese"),
    ("su", "sundanese"),
    ("yue", "cantonese"),
];

/// Other names that openai/whisper's command line knows, and the codes they stand for.
pub const TO_LANGUAGE_CODE: [(&str, &str); 12] = [
    ("burmese", "my"),
    ("valencian", "ca"),
    ("flemish", "nl"),
    ("haitian", "ht"),
    ("letzeburgesch", "lb"),
    ("pushto", "ps"),
    ("panjabi", "pa"),
    ("moldavian", "ro"),
    ("moldovan", "ro"),
    ("sinhalese", "si"),
    ("castilian", "es"),
    ("mandarin", "zh"),
];

/// Codes that others use for languages which Whisper has under another: ISO 639's old and new ones, three-letter ones
/// of languages that have no other, macrolanguages, and what people say where a region decides (BCP 47).
const OTHER_CODES: [(&str, &str); 16] = [
    ("iw", "he"),
    ("jv", "jw"),
    ("jav", "jw"),
    ("nb", "no"),
    ("fil", "tl"),
    ("in", "id"),
    ("ji", "yi"),
    ("mo", "ro"),
    ("cmn", "zh"),
    ("zh-yue", "yue"),
    ("zho", "zh"),
    ("prs", "fa"),
    ("arb", "ar"),
    ("swh", "sw"),
    ("pes", "fa"),
    ("azj", "az"),
];

/// Whether a setting asks for the language to be detected: `auto`, in any case.
#[must_use]
pub fn is_auto(language: &str) -> bool {
    language.trim().eq_ignore_ascii_case("auto")
}

/// The code of a language given by code or English name, in any case (`de`, `DE` and `German` are the same), or by a
/// tag with script or region (`pt-BR`, `zh_Hant`), which Whisper does not tell apart.
///
/// # Errors
/// [`Error::Option`] listing the codes where the language is unknown.
pub fn language_code(language: &str) -> Result<&'static str> {
    let wanted = language.trim().to_lowercase();
    let by_code = LANGUAGES.iter().find(|(code, _)| *code == wanted);
    let by_name = || {
        LANGUAGES
            .iter()
            .find(|(_, name)| *name == wanted)
            .map(|(code, _)| *code)
    };
    let by_alias = || {
        TO_LANGUAGE_CODE
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, code)| *code)
    };
    let by_tag = || code_of_tag(&wanted.replace('_', "-"));
    let known = by_code
        .map(|(code, _)| *code)
        .or_else(by_name)
        .or_else(by_alias);
    known.or_else(by_tag).ok_or_else(|| Error::Option {
        option: "language",
        reason: format!(
            "{language:?} is none of Whisper's languages; give an English name such as German, or a code: {}",
            LANGUAGES.map(|(code, _)| code).join(", ")
        ),
    })
}

/// The code of a tag in small letters: by its longest beginning that is known, so that `zh-yue` is not `zh`.
fn code_of_tag(tag: &str) -> Option<&'static str> {
    let others = OTHER_CODES.iter().find(|(other, _)| *other == tag);
    let whisper = || LANGUAGES.iter().find(|(code, _)| *code == tag);
    let code = others
        .map(|(_, code)| *code)
        .or_else(|| whisper().map(|(code, _)| *code));
    code.or_else(|| code_of_tag(tag.rsplit_once('-')?.0))
}

/// The English name of a language code, in small letters (`german` for `de`).
#[must_use]
pub fn language_name(code: &str) -> Option<&'static str> {
    LANGUAGES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_names_and_aliases_in_any_case() {
        let cases = [
            ("de", Some("de")),
            ("DE", Some("de")),
            ("German", Some("de")),
            ("haitian creole", Some("ht")),
            ("Castilian", Some("es")),
            ("Mandarin", Some("zh")),
            ("Cantonese", Some("yue")),
            (" french ", Some("fr")),
            ("pt-BR", Some("pt")),
            ("zh-CN", Some("zh")),
            ("zh_Hant", Some("zh")),
            ("zh-Hant-TW", Some("zh")),
            ("zh-yue", Some("yue")),
            ("zh-yue-HK", Some("yue")),
            ("iw", Some("he")),
            ("iw-IL", Some("he")),
            ("jv", Some("jw")),
            ("jw", Some("jw")),
            ("nb", Some("no")),
            ("nb_NO", Some("no")),
            ("fil", Some("tl")),
            ("fil-PH", Some("tl")),
            ("en-us", Some("en")),
            ("xx-BR", None),
            ("-", None),
            ("auto", None),
            ("klingon", None),
            ("", None),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(given, want)| language_code(given).ok() != *want)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_error_lists_the_codes() {
        let said = language_code("klingon").map_or_else(|e| e.to_string(), str::to_owned);
        assert!(
            said.contains("klingon") && said.contains("en, zh, de") && said.contains("yue"),
            "{said}"
        );
    }

    #[test]
    fn aliases_point_to_known_codes() {
        let lost: Vec<_> = TO_LANGUAGE_CODE
            .iter()
            .chain(&OTHER_CODES)
            .filter(|(_, code)| language_name(code).is_none())
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
