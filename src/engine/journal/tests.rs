//! Journals that were ended anywhere.

use super::*;
use crate::decoding::{DecodingResult, WordTiming};
use crate::transcript::{Attempt, Drafted};

fn result(text: &str) -> DecodingResult {
    DecodingResult {
        tokens: vec![50_364, 11, 50_400],
        text: text.into(),
        avg_logprob: -0.1 - 0.2,
        no_speech_prob: f64::NAN,
        temperature: 0.2,
        compression_ratio: f64::INFINITY,
        language: "de".into(),
        failed: vec![Attempt {
            avg_logprob: f64::NEG_INFINITY,
            ..Attempt::default()
        }],
        alignment: None,
        words: Some(vec![WordTiming {
            word: " ü\n".into(),
            tokens: vec![11],
            start: 0.1 + 0.2,
            end: 0.7,
            probability: 0.123_456_789_012_345_67,
        }]),
        drafted: Some(Drafted {
            steps: 3,
            proposed: 12,
            accepted: 9,
        }),
    }
}

fn journal(path: &Path) -> Journal {
    Journal::open(path, "a").expect("a journal")
}

/// Whether a journal knows these windows, and no others.
fn knows(path: &Path, keys: &[&str]) -> bool {
    let journal = journal(path);
    journal.windows.len() == keys.len()
        && keys
            .iter()
            .all(|key| journal.window(&(*key).to_owned()).is_some())
}

#[test]
fn results_come_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let found = LanguageProbabilities {
        best: "de".into(),
        all: vec![("de".into(), 0.1 + 0.2), ("en".into(), 1e-300)],
    };
    let first = journal(&path);
    first
        .add_window("w".into(), (&result("One")).into())
        .unwrap();
    first.add_language("l".into(), &found).unwrap();
    // Locked while it is open.
    let second = Journal::open(&path, "a").err().map(|e| e.to_string());
    assert!(second.is_some_and(|e| e.contains("another run")));
    drop(first);
    let again = journal(&path);
    assert_eq!(again.language(&"l".into()), Some(&found));
    let back: DecodingResult = again.window(&"w".into()).unwrap().into();
    assert_eq!(format!("{back:?}"), format!("{:?}", result("One")));
}

#[test]
fn a_torn_line_and_what_follows_a_damaged_one_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let first = journal(&path);
    for key in ["a", "b", "c"] {
        first.add_window(key.into(), (&result(key)).into()).unwrap();
    }
    drop(first);
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').collect();
    let all: &[&str] = &["a", "b", "c"];
    for cut in (0..whole.len()).step_by(7).chain(ends.iter().copied()) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = ends.iter().filter(|end| **end < cut).count();
        assert!(
            knows(&path, &all[..lines.saturating_sub(1)]),
            "cut at {cut}"
        );
        // It goes on behind the last whole line.
        journal(&path)
            .add_window("d".into(), (&result("d")).into())
            .unwrap();
        assert!(journal(&path).window(&"d".into()).is_some(), "cut at {cut}");
    }
    let mut damaged = whole.clone();
    damaged[ends[1] + 30] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(knows(&path, &["a"]));
    std::fs::write(&path, &whole).unwrap();
    let other = Journal::open(&path, "b").unwrap();
    assert!(other.windows.is_empty(), "results of other weights");
    drop(other);
    std::fs::write(&path, "Dear diary,\n").unwrap();
    assert!(knows(&path, &[]));
}
