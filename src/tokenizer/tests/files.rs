//! Files on a small scale: reduced, fine-tuned, padded, damaged.

use super::*;
use crate::tokenizer::special::N_TIMESTAMPS;
use serde_json::{Value, json};

/// A vocabulary of a few tokens: bytes, `Ġa`, `Ġab`, then specials in an order of their own.
fn reduced(added: &[&str]) -> String {
    let added = added.iter().zip(9..);
    let added = added.map(|(content, id)| json!({"id": id, "content": content}));
    file(added.collect())
}

/// The same with any added tokens.
fn file(added: Vec<Value>) -> String {
    let tokens = ["a", "b", "c", "Ġ", "Ã", "¤", "Ġa", "Ġab", "bc"];
    let vocab: HashMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
    json!({"added_tokens": added, "model": {"type": "BPE", "vocab": vocab}}).to_string()
}

/// [`REDUCED_SPECIALS`] from 9 to 15, and more.
fn with(more: impl IntoIterator<Item = (usize, &'static str, bool)>) -> String {
    let specials = REDUCED_SPECIALS.iter().zip(9..);
    let specials = specials.map(|(content, id)| (id, *content, true));
    let all = specials.chain(more);
    file(
        all.map(|(id, content, special)| json!({"id": id, "content": content, "special": special}))
            .collect(),
    )
}

const REDUCED_SPECIALS: [&str; 7] = [
    "<|startofprev|>",
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|fr|>",
    "<|en|>",
    "<|transcribe|>",
    "<|notimestamps|>",
];

#[test]
fn a_reduced_vocabulary_works() {
    let json = reduced(&REDUCED_SPECIALS);
    let tokenizer = Tokenizer::from_bytes("reduced", json.as_bytes(), None).expect("a good file");
    assert_eq!(tokenizer.encode(" abc"), [7, 2]);
    assert_eq!(tokenizer.encode("bc ab"), [8, 7]);
    assert_eq!(tokenizer.decode(&[7, 4, 5, 4, 2, 9999]), " abä\u{FFFD}c");
    assert_eq!(
        (
            tokenizer.sot_prev(),
            tokenizer.eot(),
            tokenizer.timestamp_begin()
        ),
        (9, 10, 16)
    );
    assert_eq!(tokenizer.n_vocab(), 16 + N_TIMESTAMPS);
    assert_eq!(tokenizer.languages(), [("fr", 12), ("en", 13)]);
    assert_eq!(
        (
            tokenizer.translate(),
            tokenizer.no_speech(),
            tokenizer.sot_lm()
        ),
        (None, None, None)
    );
    assert_eq!(
        tokenizer.sot_sequence(Some("fr"), Task::Transcribe, true),
        [11, 12, 14, 15]
    );
    assert_eq!(
        tokenizer.decode_with_timestamps(&[16, 0, 16 + 54, 16 + 1500]),
        "<|0.00|>a<|1.08|><|30.00|>"
    );
    assert_eq!(tokenizer.decode(&[16, 0, 70]), "a");
    assert_eq!(tokenizer.token_bytes(6), Some(&b" a"[..]));
    assert_eq!(tokenizer.token_bytes(5000), None);
    assert_eq!(
        tokenizer.encode("<|fr|>"),
        [] as [u32; 0],
        "no token for these bytes, and none of the special ones"
    );
}

#[test]
fn what_a_fine_tune_added_is_kept() {
    let json = with([
        (1517, "Wörter und mehr", false),
        (1518, "<|speaker|>", false),
        (1519, "[x]", true),
        (2, "c", false),
    ]);
    let tokenizer = Tokenizer::from_bytes("v", json.as_bytes(), Some(1536)).expect("a good file");
    let timestamps = tokenizer.timestamp_begin()..tokenizer.timestamp_end();
    assert_eq!((timestamps, tokenizer.n_vocab()), (16..1517, 1520));
    let [text, special] = [[0, 2, 8, 1517], [9, 10, 1518, 1519]];
    assert!(text.iter().all(|id| tokenizer.is_text(*id)));
    assert!(!special.iter().any(|id| tokenizer.is_text(*id)));
    let is_timestamp = [15, 16, 1516, 1517].map(|id| tokenizer.is_timestamp(id));
    assert_eq!(is_timestamp, [false, true, true, false]);
    assert_eq!(
        tokenizer.decode(&[16, 0, 1517, 1519, 1516]),
        "aWörter und mehr[x]"
    );
    let behind: Vec<_> = tokenizer.added_specials().collect();
    assert_eq!(behind, [1518, 1519]);
    let unused: Vec<_> = tokenizer.unused(1536).collect();
    assert_eq!(unused, (1520..1536).collect::<Vec<_>>());
    assert_eq!(
        tokenizer.encode("c[x]"),
        [2],
        "added tokens are never made, known ones are"
    );
}

#[test]
fn ids_between_others_may_have_no_token() {
    let json = with([(1530, "late", false)]);
    let tokenizer = Tokenizer::from_bytes("v", json.as_bytes(), Some(1540)).expect("a good file");
    let unused: Vec<_> = tokenizer.unused(1540).collect();
    let expected: Vec<u32> = (1517..1530).chain(1531..1540).collect();
    assert_eq!(unused, expected);
}

#[test]
fn a_vocabulary_may_have_no_timestamps() {
    let cases = [
        ("the network ends before them", with([]), Some(1516), 16),
        (
            "their first id is taken",
            with([(16, "text", false)]),
            None,
            17,
        ),
        (
            "their last id is taken",
            with([(1516, "text", false)]),
            None,
            1517,
        ),
    ];
    for (name, json, n_vocab, count) in cases {
        let tokenizer = Tokenizer::from_bytes("v", json.as_bytes(), n_vocab).expect(name);
        let timestamps = tokenizer.timestamp_begin()..tokenizer.timestamp_end();
        assert_eq!(timestamps, count..count, "{name}");
        assert_eq!(tokenizer.n_vocab(), count as usize, "{name}");
        assert!(!tokenizer.is_timestamp(count), "{name}");
    }
}

#[test]
fn a_vocabulary_of_another_model_of_openais_is_named() {
    // The last token before the timestamps, as the multilingual and the English-only files have it.
    for (last, network, want) in [
        (
            50_363,
            51_864,
            "it is multilingual and has 51865 tokens, the network is English-only",
        ),
        (50_364, 51_865, "multilingual with Cantonese"),
        (50_364, 51_864, "multilingual with Cantonese"),
        (50_363, 51_870, "fine"),
        (50_362, 51_864, "fine"),
        (50_300, 51_700, "fine"),
    ] {
        let (no_timestamps, before) = REDUCED_SPECIALS.split_last().unwrap();
        let added = before.iter().zip(9..).chain([(no_timestamps, last)]);
        let added = added.map(|(content, id)| json!({"id": id, "content": content}));
        let json = file(added.collect());
        let said = Tokenizer::from_bytes("v", json.as_bytes(), Some(network))
            .map_or_else(|error| error.to_string(), |_| "fine".into());
        assert!(said.contains(want), "{last} {network}: {said}");
    }
}

#[test]
fn timestamps_that_are_listed_must_be_in_a_row() {
    let cases = [
        (
            with([(16, "<|0.00|>", false), (17, "<|0.02|>", false)]),
            None,
            "fine",
        ),
        (with([(17, "<|0.02|>", false)]), None, "fine"),
        (with([(20, "<|0.00|>", false)]), None, "fine"),
        (
            with([(16, "<|0.00|>", false), (18, "<|0.02|>", false)]),
            None,
            "token 18 is \"<|0.02|>\" instead of <|0.04|>",
        ),
        (
            with([(16, "<|0.00|>", false), (1000, "x", false)]),
            None,
            "token 1000 is \"x\" instead of <|19.68|>",
        ),
        (
            with([(16, "<|0.00|>", false)]),
            Some(1516),
            "the network has 1516",
        ),
    ];
    for (json, n_vocab, want) in cases {
        let said = Tokenizer::from_bytes("v", json.as_bytes(), n_vocab)
            .map_or_else(|error| error.to_string(), |_| "fine".into());
        assert!(said.contains(want), "{said} instead of {want}");
    }
}

#[test]
fn lists_of_tokens_are_numbered_as_openai_numbers_them() {
    let tokens = |more: &[&str]| {
        let all = ["a", "b", " a"].iter().chain(more);
        all.map(|token| token.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let others = 3 + 8 + 1501;
    for list in [tokens(&[]), tokens(&["<|endoftext|>"])] {
        let tokenizer = Tokenizer::from_parts("v", list, Some(others + 100)).expect("a list");
        assert_eq!((tokenizer.eot(), tokenizer.languages().len()), (3, 100));
        assert_eq!(tokenizer.timestamp_end() as usize, others + 100);
    }
    let of = |n_vocab| Tokenizer::from_parts("v", tokens(&[]), Some(n_vocab)).expect("a list");
    assert!(of(others + 99).has_ids_of(&of(others + 99)));
    assert!(!of(others + 99).has_ids_of(&of(others + 100)));
    let error = Tokenizer::from_parts("v", tokens(&[]), Some(others + 104)).expect_err("too many");
    assert!(error.to_string().contains("104 languages"), "{error}");
}

#[test]
fn damaged_vocabularies_are_errors_that_say_what_is_wrong() {
    let without_sot: Vec<&str> = REDUCED_SPECIALS
        .into_iter()
        .filter(|c| !c.contains("startoft"))
        .collect();
    let cases: [(&str, String, Option<usize>, &str); 7] = [
        ("empty", String::new(), None, "EOF"),
        ("no json", "hello".into(), None, "expected value"),
        ("no vocabulary", "{}".into(), None, "model"),
        (
            "other model",
            r#"{"model":{"type":"Unigram","vocab":{}}}"#.into(),
            None,
            "Unigram",
        ),
        (
            "no sot",
            reduced(&without_sot),
            None,
            "<|startoftranscript|>",
        ),
        (
            "too many",
            reduced(&REDUCED_SPECIALS),
            Some(12),
            "16 tokens, but the network has 12",
        ),
        (
            "absurd id",
            r#"{"added_tokens":[{"id":4294967295,"content":"x"}],"model":{"vocab":{"a":1}}}"#
                .into(),
            None,
            "tokens, but",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, json, n_vocab, want) in cases {
        let said = Tokenizer::from_bytes("v.json", json.as_bytes(), n_vocab)
            .map_or_else(|e| e.to_string(), |_| "fine".into());
        if !said.contains(want) || !said.starts_with("v.json") {
            wrong.push((name, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn token_strings_make_the_same_vocabulary() {
    let strings = [
        "a",
        "b",
        "Ġ",
        "Ġa",
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|startofprev|>",
        "<|notimestamps|>",
    ];
    let tokenizer = Tokenizer::from_token_strings("v", strings.map(String::from).into(), None)
        .expect("a good list");
    assert_eq!(tokenizer.encode(" ab a"), [3, 1, 3]);
    assert_eq!((tokenizer.eot(), tokenizer.timestamp_begin()), (4, 8));
    assert!(!tokenizer.is_multilingual());
    let more = strings
        .into_iter()
        .chain(["plain ü", "Ġ"])
        .map(String::from);
    let tokenizer = Tokenizer::from_token_strings("v", more.collect(), None).expect("a good list");
    assert_eq!(tokenizer.decode(&[3, 8, 9]), " aplain üĠ");
    assert_eq!(tokenizer.timestamp_begin(), tokenizer.timestamp_end());
    assert_eq!(tokenizer.encode("Ġ"), [] as [u32; 0]);
}
