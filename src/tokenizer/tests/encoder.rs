//! The encoder against its judge, and the merges it stands on.

use super::judge::Judge;
use super::*;
use crate::tokenizer::merges::Ranked;
use crate::tokenizer::read::OPENAIS;
use serde_json::{Value, json};

/// Numbers that only look random (splitmix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// Letters, digits, signs and spaces of many scripts, mostly of one at a time.
    fn characters(&mut self) -> String {
        let ranges = [
            ' '..='~',
            'a'..='z',
            'À'..='ſ',
            'Ѐ'..='ӿ',
            '\u{300}'..='\u{36F}',
            '؀'..='ۿ',
            'ऀ'..='ॿ',
            'ก'..='๛',
            '\u{2000}'..='\u{206F}',
            '♠'..='♯',
            '\u{3000}'..='ヿ',
            '一'..='龥',
            '가'..='힣',
            '😀'..='🙏',
            '\t'..='\r',
        ];
        let range = ranges[self.below(ranges.len())].clone();
        let all: Vec<char> = range.collect();
        (0..self.below(12))
            .map(|_| all[self.below(all.len())])
            .collect()
    }

    /// Texts cut and put together anew, between characters at random, contractions and white space.
    fn text(&mut self, from: &[Vec<char>]) -> String {
        let mut text = String::new();
        for _ in 0..1 + self.below(6) {
            match self.below(4) {
                0 => text += &self.characters(),
                1 => {
                    text += self.of(&[
                        " ", "  ", "\n\n", "'ve", "'LL", "n't", "\u{a0}", " \t", "-", "…",
                    ])
                }
                _ => {
                    let chars = &from[self.below(from.len())];
                    let start = self.below(chars.len() + 1);
                    let end = start + self.below((chars.len() - start).min(25) + 1);
                    text.extend(&chars[start..end]);
                }
            }
        }
        text
    }
}

#[test]
fn any_text_is_encoded_as_the_judge_has_it() {
    for (name, tokenizer, _) in all() {
        let judge = Judge::new(&tokenizer.tokens);
        let texts = golden().multilingual.encode;
        let texts: Vec<Vec<char>> = texts
            .iter()
            .map(|(text, _)| text.chars().collect())
            .collect();
        let mut draws = Draws(7);
        let mut wrong = Vec::new();
        for _ in 0..4000 {
            let text = draws.text(&texts);
            let (ours, judged) = (tokenizer.encode(&text), judge.encode(&text));
            assert_eq!(tokenizer.decode(&ours), text, "{name}");
            if ours != judged {
                wrong.push((text, ours, judged));
            }
        }
        let first = wrong.first();
        assert!(
            wrong.is_empty(),
            "{name}: {} differ, first {first:?}",
            wrong.len()
        );
    }
}

/// A vocabulary over a few letters, of which it may lack some: each longer token is two shorter ones, and some are there
/// twice.
fn random_vocabulary(draws: &mut Draws) -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = vec![b"a".to_vec(), b"b".to_vec()];
    tokens.extend((draws.below(2) > 0).then(|| b" ".to_vec()));
    for _ in 0..draws.below(20) {
        let mut part = || tokens[draws.below(tokens.len())].clone();
        let longer = [part(), part()].concat();
        tokens.push(longer);
    }
    Tokenizer::from_parts("random", tokens, None).expect("any list")
}

#[test]
fn any_vocabulary_of_ranks_is_used_as_the_judge_uses_it() {
    let mut draws = Draws(11);
    let mut seen = 0;
    while seen < 1000 {
        let tokenizer = random_vocabulary(&mut draws);
        let ordinary: Vec<_> = tokenizer.tokens.ordinary().collect();
        if !Ranked::new(&ordinary).is_complete {
            continue;
        }
        seen += 1;
        let judge = Judge::new(&tokenizer.tokens);
        for _ in 0..10 {
            let length = draws.below(14);
            let letters = ["a", "b", "c", "a", "b", " "];
            let text: String = (0..length).map(|_| draws.of(&letters)).collect();
            let (ours, judged) = (tokenizer.encode(&text), judge.encode(&text));
            assert_eq!(ours, judged, "{text:?} by {ordinary:?}");
        }
    }
}

#[test]
fn ids_of_openais_vocabularies_are_ranks() {
    let golden = golden();
    for (vectors, digest) in [golden.multilingual, golden.en].iter().zip(OPENAIS) {
        let tokenizer = openai(vectors);
        let ordinary: Vec<_> = tokenizer.tokens.ordinary().collect();
        let ranked = Ranked::new(&ordinary);
        assert_eq!((ranked.pairs.len(), ranked.is_complete), (50_000, true));
        assert_eq!(tokenizer.tokens.digest(), digest);
    }
}

/// Tokens whose ids are no ranks, with the file's own merges.
fn unranked(merges: Value) -> Result<Tokenizer, crate::error::Error> {
    let vocab = json!({"a": 0, "b": 1, "c": 2, "abc": 3, "ab": 4, "bc": 5});
    let names = [
        "endoftext",
        "startoftranscript",
        "startofprev",
        "notimestamps",
    ];
    let added = names.iter().zip(6..);
    let added: Vec<_> = added
        .map(|(name, id)| json!({"id": id, "content": format!("<|{name}|>")}))
        .collect();
    let json = json!({"added_tokens": added, "model": {"vocab": vocab, "merges": merges}});
    Tokenizer::from_bytes("v.json", json.to_string().as_bytes(), None)
}

#[test]
fn a_files_own_merges_serve_where_ids_are_no_ranks() {
    let cases = [
        (json!(["b c", "a bc", "a b"]), [3, 4].as_slice()),
        (json!([["b", "c"], ["a", "bc"], ["a", "b"]]), &[3, 4]),
        (json!(["a b", "ab c", "b c"]), &[3, 4]),
        (json!(["a b", "b c"]), &[4, 2, 4]),
        // A pruned vocabulary keeps merges of tokens that it has no more.
        (json!(["b x", "xb c", "b b", "b c", "a bc"]), &[3, 0, 1]),
        // Without merges ids are ranks, and `abc` is made of no two of lower rank.
        (json!([]), &[4, 2, 4]),
    ];
    for (merges, ids) in cases {
        let tokenizer = unranked(merges.clone()).expect("a good file");
        assert_eq!(tokenizer.encode("abcab"), ids, "{merges}");
        assert_eq!(tokenizer.encode("abc"), [3], "a whole piece is looked up");
    }
}

#[test]
fn merges_that_are_no_pairs_are_errors() {
    let cases = [
        json!(["ab"]),
        json!([["a"]]),
        json!([["a", "b", "c"]]),
        json!([7]),
        json!([null]),
    ];
    for merges in cases {
        let said =
            unranked(merges.clone()).map_or_else(|error| error.to_string(), |_| "fine".into());
        assert!(
            said.starts_with("v.json") && said.contains("pair"),
            "{merges}: {said}"
        );
    }
}
