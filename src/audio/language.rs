//! Languages as containers tag them: ISO 639-1, both kinds of ISO 639-2, and tags with a region.

/// Codes of two letters and the three letters that stand for them, the bibliographic ones (which
/// Matroska uses) first where there are two.
#[rustfmt::skip]
const CODES: [(&str, &[&str]); 62] = [
    ("af", &["afr"]), ("ar", &["ara"]), ("az", &["aze"]), ("be", &["bel"]), ("bg", &["bul"]),
    ("bn", &["ben"]), ("bs", &["bos"]), ("ca", &["cat"]), ("cs", &["cze", "ces"]),
    ("cy", &["wel", "cym"]), ("da", &["dan"]), ("de", &["ger", "deu"]), ("el", &["gre", "ell"]),
    ("en", &["eng"]), ("es", &["spa"]), ("et", &["est"]), ("eu", &["baq", "eus"]),
    ("fa", &["per", "fas"]), ("fi", &["fin"]), ("fr", &["fre", "fra"]), ("gl", &["glg"]),
    ("gu", &["guj"]), ("he", &["heb"]), ("hi", &["hin"]), ("hr", &["hrv"]), ("hu", &["hun"]),
    ("hy", &["arm", "hye"]), ("id", &["ind"]), ("is", &["ice", "isl"]), ("it", &["ita"]),
    ("ja", &["jpn"]), ("ka", &["geo", "kat"]), ("kk", &["kaz"]), ("kn", &["kan"]), ("ko", &["kor"]),
    ("lt", &["lit"]), ("lv", &["lav"]), ("mk", &["mac", "mkd"]), ("ml", &["mal"]), ("mr", &["mar"]),
    ("ms", &["may", "msa"]), ("nl", &["dut", "nld"]), ("no", &["nor", "nob", "nno"]),
    ("pa", &["pan"]), ("pl", &["pol"]), ("pt", &["por"]), ("ro", &["rum", "ron"]), ("ru", &["rus"]),
    ("sk", &["slo", "slk"]), ("sl", &["slv"]), ("sq", &["alb", "sqi"]), ("sr", &["srp"]),
    ("sv", &["swe"]), ("sw", &["swa"]), ("ta", &["tam"]), ("te", &["tel"]), ("th", &["tha"]),
    ("tr", &["tur"]), ("uk", &["ukr"]), ("ur", &["urd"]), ("vi", &["vie"]),
    ("zh", &["chi", "zho", "cmn"]),
];

/// Whether both name one language; regions count where both have them.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (split(a), split(b));
    a.0 == b.0 && (a.1.is_empty() || b.1.is_empty() || a.1 == b.1)
}

/// The language in two letters, if it has them, and what follows it.
fn split(tag: &str) -> (String, String) {
    let tag = tag.trim().to_ascii_lowercase().replace('_', "-");
    let (language, region) = tag.split_once('-').unwrap_or((&tag, ""));
    let short = CODES.iter().find(|(_, long)| long.contains(&language));
    let language = short.map_or(language, |(short, _)| short);
    (language.to_owned(), region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_kinds() {
        for (a, b) in [
            ("ger", "de"),
            ("deu", "ger"),
            ("pt-BR", "por"),
            ("EN_us", "en-US"),
            ("xyz", "xyz"),
        ] {
            assert!(is_same(a, b), "{a} {b}");
        }
        for (a, b) in [("ger", "en"), ("pt-BR", "pt-PT"), ("", "de")] {
            assert!(!is_same(a, b), "{a} {b}");
        }
    }
}
