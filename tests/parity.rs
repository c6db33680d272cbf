//! Token for token against what openai/whisper wrote for the same recordings.

use std::path::Path;

use serde_json::Value;
use undertone::{AlignmentHeads, ComputeType, Engine, Executor, Task, TranscribeOptions, Word};

use crate::support::{self, Recording};

/// One way of decoding, under the name it has in the stored references.
struct Mode {
    name: &'static str,
    task: Task,
    beam_size: Option<usize>,
    gates: bool,
    longest_s: f64,
    /// These files alone, where there are any.
    only: &'static [&'static str],
    /// Files that are left out, with the reason.
    except: &'static [&'static str],
}

const GATES: Mode = Mode {
    name: "gates",
    task: Task::Transcribe,
    beam_size: None,
    gates: true,
    longest_s: f64::INFINITY,
    only: &[],
    except: &[],
};
const GREEDY: Mode = Mode {
    name: "greedy",
    gates: false,
    ..GATES
};
const BEAM5: Mode = Mode {
    name: "beam5",
    beam_size: Some(5),
    longest_s: 40.0,
    ..GREEDY
};
/// The excepted recording loops for 1,756 tokens, where any rounding difference shows.
const TRANSLATE: Mode = Mode {
    name: "translate",
    task: Task::Translate,
    except: &["an_die_freude.mp3"],
    ..GREEDY
};

impl Mode {
    fn options(&self, language: &str) -> TranscribeOptions {
        let mut options = TranscribeOptions::default();
        options.decoding.task = self.task;
        options.decoding.language = Some(language.into());
        options.decoding.beam_size = self.beam_size;
        options.gates.temperatures = vec![0.0];
        if !self.gates {
            options.gates = support::no_gates();
        }
        options
    }
}

fn stored(folder: &Path, file: &str, model: &str) -> Option<Value> {
    let path = folder.join(format!("reference/{file}.{model}.json"));
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).unwrap())
}

fn tokens(result: &Value) -> Vec<u32> {
    let segments = result["segments"].as_array().unwrap();
    let of = |segment: &Value| segment["tokens"].as_array().unwrap().clone();
    segments
        .iter()
        .flat_map(of)
        .map(|t| u32::try_from(t.as_u64().unwrap()).unwrap())
        .collect()
}

/// How many recordings were compared, and which of them differ.
fn compare(model: &'static str, mode: &Mode) -> Option<(usize, Vec<String>)> {
    let (folder, engine) = (
        support::reference()?,
        support::engine(model, ComputeType::F32)?,
    );
    Some(compare_with(engine, model, mode, &folder))
}

fn compare_with(engine: &Engine, model: &str, mode: &Mode, folder: &Path) -> (usize, Vec<String>) {
    let wanted = |r: &Recording| {
        let asked = mode.only.is_empty() || mode.only.contains(&&*r.file);
        asked && r.seconds <= mode.longest_s && !mode.except.contains(&&*r.file)
    };
    let (mut compared, mut differing) = (0, Vec::new());
    for recording in support::recordings(folder).into_iter().filter(wanted) {
        let Some(all) = stored(folder, &recording.file, model) else {
            continue;
        };
        let Some(want) = all.get(mode.name) else {
            continue;
        };
        let path = folder.join("audio").join(&recording.file);
        let got = engine
            .transcribe(&*path, &mode.options(&recording.language))
            .unwrap();
        let got: Vec<u32> = got.segments.iter().flat_map(|s| s.tokens.clone()).collect();
        compared += 1;
        if got != tokens(want) {
            differing.push(recording.file);
        }
    }
    let executor = engine.network().describe().executor;
    eprintln!(
        "{model} {} by {executor}: {compared} recordings, differing: {differing:?}",
        mode.name
    );
    (compared, differing)
}

fn check(model: &'static str, mode: &Mode, least: usize) {
    let Some((compared, differing)) = compare(model, mode) else {
        return;
    };
    assert!(
        compared >= least,
        "{model} {}: only {compared} compared",
        mode.name
    );
    assert!(
        differing.is_empty(),
        "{model} {}: {differing:?} differ",
        mode.name
    );
}

#[test]
fn base_greedy_with_gates() {
    check("base", &GATES, 83);
}

#[test]
fn base_translation() {
    check("base", &TRANSLATE, 20);
}

#[test]
fn base_beam_search() {
    check("base", &BEAM5, 74);
}

#[test]
fn tiny_en_greedy() {
    check("tiny.en", &GREEDY, 62);
}

/// Short recordings, one language and one way of decoding each.
const BY_THE_PLAIN_NETWORK: [Mode; 3] = [
    Mode {
        only: &["LJ001-0002.flac", "leopard_ja.flac"],
        ..GATES
    },
    Mode {
        only: &["cheetah_fr.flac"],
        ..BEAM5
    },
    Mode {
        only: &["cheetah_de.flac"],
        ..TRANSLATE
    },
];

#[test]
fn the_plain_network_gives_the_same_tokens() {
    let (Some(folder), Some(_)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    let engine = Engine::builder()
        .model("base")
        .hub(support::hub())
        .executor(Executor::Reference)
        .without_packed_copies()
        .build()
        .unwrap();
    for mode in &BY_THE_PLAIN_NETWORK {
        let (compared, differing) = compare_with(&engine, "base", mode, &folder);
        assert_eq!(
            (compared, differing.len()),
            (mode.only.len(), 0),
            "{differing:?}"
        );
    }
}

#[test]
fn base_detects_the_same_languages() {
    let (Some(folder), Some(engine)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    let mut broken = Vec::new();
    for recording in support::recordings(&folder) {
        let Some(want) = stored(&folder, &recording.file, "base") else {
            continue;
        };
        let got = engine
            .detect_language(&*folder.join("audio").join(&recording.file))
            .unwrap();
        for (code, probability) in want["detect"].as_object().unwrap() {
            let error = (got.probability(code) - probability.as_f64().unwrap()).abs();
            if error > 1e-2 {
                broken.push(format!("{}: {code} off by {error:.4}", recording.file));
            }
        }
        let best = want["detect"].as_object().unwrap();
        let best = best
            .iter()
            .max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap()));
        if got.best != *best.unwrap().0 {
            broken.push(format!(
                "{}: {} where {:?} is due",
                recording.file, got.best, best
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

const WITH_WORDS: [(&str, &str); 5] = [
    ("jfk.flac", "en"),
    ("harvard.flac", "en"),
    ("leopard_de.flac", "de"),
    ("leopard_ja.flac", "ja"),
    ("vctk_p227_008.flac", "en"),
];

/// The stored words come from every head of the upper half of the layers, which is what openai/whisper takes
/// of a network that it has no name for.
#[test]
fn words_and_their_times_are_openais() {
    let (Some(folder), Some(engine)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
    ) else {
        return;
    };
    for (file, language) in WITH_WORDS {
        let mut options = GREEDY.options(language);
        options.word_timestamps = true;
        options.alignment_heads = AlignmentHeads::UpperHalf;
        let made = engine
            .transcribe(folder.join("audio").join(file), &options)
            .unwrap();
        let stored = folder.join(format!("reference/{file}.base.json"));
        let stored: Value = serde_json::from_slice(&std::fs::read(stored).unwrap()).unwrap();
        let due = stored["words"]["segments"].as_array().unwrap();
        let due = due.iter().flat_map(|s| s["words"].as_array().unwrap());
        let made: Vec<_> = made
            .segments
            .iter()
            .flat_map(|s| s.words.iter().flatten())
            .collect();
        assert_eq!(made.len(), due.clone().count(), "{file}");
        for (word, due) in made.into_iter().zip(due) {
            let number = |key: &str| due[key].as_f64().unwrap();
            assert_eq!(word.word, due["word"].as_str().unwrap(), "{file}");
            assert_eq!(
                (word.start, word.end),
                (number("start"), number("end")),
                "{file} {word:?}"
            );
            let off = (word.probability - number("probability")).abs();
            assert!(off < 2e-3, "{file} {word:?}: {off}");
        }
    }
}

/// Every word of a transcript.
fn words_of(engine: &Engine, audio: &Path, options: &TranscribeOptions) -> Vec<Word> {
    let made = engine.transcribe(audio, options).unwrap();
    let words = made.segments.into_iter().filter_map(|s| s.words);
    words.flatten().collect()
}

#[test]
fn int8s_words_are_where_f32s_are() {
    let (Some(folder), Some(floats), Some(bytes)) = (
        support::reference(),
        support::engine("base", ComputeType::F32),
        support::engine("base", ComputeType::Int8),
    ) else {
        return;
    };
    for beams in [None, Some(5)] {
        let (mut apart, mut files) = (Vec::new(), 0);
        for (file, language) in WITH_WORDS {
            let mut options = GREEDY.options(language);
            options.word_timestamps = true;
            options.decoding.beam_size = beams;
            let audio = folder.join("audio").join(file);
            let [due, got] = [floats, bytes].map(|engine| words_of(engine, &audio, &options));
            // Where a word was heard otherwise, what follows it has no partner.
            let alike = due.iter().zip(&got).take_while(|(a, b)| a.word == b.word);
            let before = apart.len();
            apart.extend(alike.map(|(a, b)| (a.start - b.start).abs()));
            files += usize::from(apart.len() > before + 5);
        }
        apart.sort_by(f64::total_cmp);
        let (median, most) = (apart[apart.len() / 2], apart[apart.len() * 9 / 10]);
        assert!(files >= 4, "{beams:?}: words of {files} files alike");
        assert!(
            median <= 0.02 && most <= 0.06,
            "{beams:?}: {median} s, {most} s"
        );
    }
}
