//! Against what the Python packages `whisper-normalizer` and `jiwer` make of the same texts.

use super::*;
use crate::comparison;
use std::collections::HashMap;

#[test]
fn every_text_is_normalized_as_in_python() {
    let rows: Vec<(String, String, String)> =
        serde_json::from_str(include_str!("../../tests/golden/normalize.json")).expect("JSON");
    let english = EnglishTextNormalizer::new();
    let basic = HashMap::from([
        ("basic", BasicTextNormalizer::new(false, false)),
        ("diacritics", BasicTextNormalizer::new(true, false)),
        ("split", BasicTextNormalizer::new(false, true)),
    ]);
    let mut wrong = Vec::new();
    for (kind, text, want) in &rows {
        let got = basic
            .get(kind.as_str())
            .map_or_else(|| english.normalize(text), |b| b.normalize(text));
        if got != *want {
            wrong.push((kind, text, want, got));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ: {:#?}",
        wrong.len(),
        rows.len(),
        &wrong[..wrong.len().min(20)]
    );
}

type Counts = (usize, usize, usize, usize);

fn counts(e: Errors) -> Counts {
    (e.substitutions, e.deletions, e.insertions, e.reference_len)
}

/// Ways of equal length may divide differently into substitutions, deletions and insertions.
fn same_total(ours: Counts, theirs: Counts) -> bool {
    (ours.0 + ours.1 + ours.2, ours.3) == (theirs.0 + theirs.1 + theirs.2, theirs.3)
}

#[test]
fn errors_are_counted_as_in_python() {
    let rows: Vec<(String, String, Counts, Counts)> =
        serde_json::from_str(include_str!("../../tests/golden/edits.json")).expect("JSON");
    let mut wrong = Vec::new();
    for (reference, hypothesis, words, characters) in rows {
        let ours = (
            counts(wer(&reference, &hypothesis)),
            counts(cer(&reference, &hypothesis)),
        );
        if !same_total(ours.0, words) || !same_total(ours.1, characters) {
            wrong.push((reference, hypothesis, ours, words, characters));
        }
    }
    assert!(wrong.is_empty(), "{} differ: {wrong:#?}", wrong.len());
}

#[test]
fn kinds_of_errors_are_told_apart() {
    let cases = [
        ("the cat sat", "the cat sat", (0, 0, 0, 3)),
        ("the cat sat", "the dog sat", (1, 0, 0, 3)),
        ("the cat sat", "the sat", (0, 1, 0, 3)),
        ("the cat sat", "the cat sat down", (0, 0, 1, 3)),
        ("", "a b", (0, 0, 2, 0)),
        ("a b", "", (0, 2, 0, 2)),
        ("", "", (0, 0, 0, 0)),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(r, h, want)| counts(wer(r, h)) != *want)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(wer("", "").rate(), 0.0);
    assert_eq!(wer("", "a").rate(), f64::INFINITY);
    let mut sum = wer("a b", "a c");
    sum += wer("d e", "d e");
    assert_eq!((sum.total(), sum.rate()), (1, 0.25));
}

#[test]
fn a_scorer_takes_the_rules_of_the_language() {
    let scorer = Scorer::new();
    assert_eq!(
        scorer
            .errors("en", "Two dollars, please.", "$2 please")
            .total(),
        0
    );
    assert_eq!(
        counts(scorer.errors("de", "Zwei Euro, bitte.", "zwei euro bitte")),
        (0, 0, 0, 3)
    );
    assert_eq!(
        counts(scorer.errors("ja", "今日は。", "今日 わ")),
        (1, 0, 0, 3)
    );
    assert!(Scorer::by_character("zh") && !Scorer::by_character("ko"));
}

#[test]
fn the_recordings_have_jiwers_error_counts() {
    let Some(folder) = comparison::reference() else {
        return;
    };
    let rows: Vec<(String, String, Counts)> =
        serde_json::from_str(include_str!("../../tests/golden/recordings.json")).expect("JSON");
    let manifest =
        std::fs::read_to_string(folder.join("audio/manifest.tsv")).expect("the manifest");
    let column = |line: &str, i: usize| line.split('\t').nth(i).unwrap_or_default().to_owned();
    let said: HashMap<String, String> = manifest
        .lines()
        .map(|line| (column(line, 0), column(line, 5)))
        .collect();
    let scorer = Scorer::new();
    let mut wrong = Vec::new();
    for (file, language, want) in rows {
        let stored = std::fs::read(folder.join(format!("reference/{file}.base.json")))
            .expect("openai's output");
        let stored: serde_json::Value = serde_json::from_slice(&stored).expect("JSON");
        let heard = stored["gates"]["text"].as_str().expect("a text");
        let got = counts(scorer.errors(&language, &said[&file], heard));
        if !same_total(got, want) {
            wrong.push((file, got, want));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
