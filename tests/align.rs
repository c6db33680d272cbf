//! A known text aligned with its recording.

use undertone::{ComputeType, Control, Error, TranscribeOptions, Transcript, Word};

use crate::support;

/// Eight parts of one reading, each with the text that was read.
const READING: [&str; 8] = [
    "LJ001-0001.flac",
    "LJ001-0002.flac",
    "LJ001-0003.flac",
    "LJ001-0004.flac",
    "LJ001-0005.flac",
    "LJ001-0006.flac",
    "LJ001-0007.flac",
    "LJ001-0008.flac",
];

fn words(transcript: &Transcript) -> Vec<&Word> {
    let words = transcript.segments.iter().filter_map(|s| s.words.as_ref());
    words.flatten().collect()
}

/// The text of a recording as the manifest has it.
fn read(folder: &std::path::Path, file: &str) -> String {
    let rows = std::fs::read_to_string(folder.join("audio/manifest.tsv")).unwrap();
    let row = rows
        .lines()
        .find(|row| row.starts_with(&format!("{file}\t")));
    row.unwrap().split('\t').nth(5).unwrap().to_owned()
}

fn english() -> TranscribeOptions {
    let mut options = TranscribeOptions {
        word_timestamps: true,
        ..TranscribeOptions::default()
    };
    options.decoding.language = Some("en".into());
    options
}

fn bare(word: &Word) -> String {
    let letters = word.word.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

#[test]
fn words_of_a_known_text_are_where_they_are_heard() {
    let (Some(folder), Some(engine)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    let (mut apart, mut count) = (Vec::new(), 0);
    for file in READING {
        let audio = folder.join("audio").join(file);
        let text = read(&folder, file);
        let aligned = engine.align(&audio, &text, &english(), &Control::default());
        let aligned = aligned.unwrap();
        let heard = engine.transcribe(&audio, &english()).unwrap();
        let (own, heard) = (words(&aligned), words(&heard));
        let joined: String = own.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(joined.trim(), text, "{file}");
        assert!(own.is_sorted_by(|a, b| a.start <= a.end && a.end <= b.start));
        assert!(own.iter().all(|word| word.end <= aligned.duration_s + 0.01));
        count += own.len();
        // The same word within two seconds of where it is.
        apart.extend(own.iter().filter_map(|word| {
            let same = heard.iter().filter(|other| bare(other) == bare(word));
            let apart = same.map(|other| (other.start - word.start).abs());
            apart.min_by(f64::total_cmp).filter(|apart| *apart < 2.0)
        }));
    }
    apart.sort_by(f64::total_cmp);
    assert!(apart.len() * 10 > count * 9, "{} of {count}", apart.len());
    assert!(apart[apart.len() / 2] <= 0.05 && apart[apart.len() * 9 / 10] <= 0.05);
}

#[test]
fn text_that_is_not_said_is_unsure_and_unheard_text_an_error() {
    let (Some(folder), Some(engine)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    let audio = folder.join("audio").join(READING[7]);
    let align = |text: &str| engine.align(&audio, text, &english(), &Control::default());
    let stranger = "Sphinx of black quartz, judge my vow.";
    let mixed = align(&format!("{}\n{stranger}", read(&folder, READING[7]))).unwrap();
    let sure: Vec<f64> = mixed.segments.iter().map(|s| s.avg_logprob.exp()).collect();
    assert!(
        sure.len() == 2 && sure[0] > 0.8 && sure[1] < 0.2,
        "{sure:?}"
    );
    assert!(
        mixed.warnings.iter().any(|w| w.contains("Sphinx")),
        "{:?}",
        mixed.warnings
    );
    let none = align(stranger);
    assert!(
        matches!(none, Err(Error::NotSaid { sentences: 1, .. })),
        "{none:?}"
    );
    let missing = align("has never").unwrap();
    assert_eq!(words(&missing).len(), 2);
    // More words than any window takes, none of them said.
    let none = align(&stranger.repeat(200));
    assert!(matches!(none, Err(Error::NotSaid { .. })), "{none:?}");
}
