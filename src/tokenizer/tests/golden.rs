//! What openai/whisper's own tokenizer gives.

use super::*;

#[test]
fn special_tokens_have_openais_ids() {
    for (name, tokenizer, vectors) in all() {
        let ours = HashMap::from([
            ("eot", Some(tokenizer.eot())),
            ("sot", Some(tokenizer.sot())),
            ("sot_prev", Some(tokenizer.sot_prev())),
            ("sot_lm", tokenizer.sot_lm()),
            ("no_speech", tokenizer.no_speech()),
            ("no_timestamps", Some(tokenizer.no_timestamps())),
            ("timestamp_begin", Some(tokenizer.timestamp_begin())),
            ("transcribe", tokenizer.transcribe()),
            ("translate", tokenizer.translate()),
            ("n_vocab", Some(tokenizer.n_vocab() as u32)),
        ]);
        let wrong: Vec<_> = ours
            .iter()
            .filter(|(key, id)| vectors.special.get(**key) != id.as_ref())
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let languages: Vec<_> = tokenizer
            .languages()
            .iter()
            .map(|(code, id)| ((*code).to_owned(), *id))
            .collect();
        assert_eq!(languages, vectors.languages, "{name}");
        assert_eq!(tokenizer.is_multilingual(), name != "en");
    }
}

#[test]
fn non_speech_tokens_are_openais() {
    for (name, tokenizer, vectors) in all() {
        assert_eq!(
            tokenizer.non_speech_tokens(),
            vectors.non_speech_tokens,
            "{name}"
        );
    }
}

#[test]
fn texts_of_many_scripts_encode_and_come_back() {
    for (name, tokenizer, vectors) in all() {
        let wrong: Vec<_> = vectors
            .encode
            .iter()
            .filter(|(text, ids)| tokenizer.encode(text) != *ids)
            .collect();
        assert!(
            wrong.is_empty(),
            "{name}: {} texts encode differently, first {:?}",
            wrong.len(),
            wrong.first()
        );
        let lost: Vec<_> = vectors
            .encode
            .iter()
            .filter(|(text, ids)| tokenizer.decode(ids) != *text)
            .collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
    }
}

#[test]
fn any_tokens_decode_as_openai_decodes_them() {
    for (name, tokenizer, vectors) in all() {
        let same = |(ids, text, with_times): &&(Vec<u32>, String, String)| {
            tokenizer.decode(ids) == *text && tokenizer.decode_with_timestamps(ids) == *with_times
        };
        let wrong: Vec<_> = vectors.decode.iter().filter(|row| !same(row)).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

#[test]
fn one_very_long_word_is_encoded_in_no_time() {
    let tokenizer = openai(&golden().multilingual);
    let word = "abracadabra".repeat(50_000);
    let started = std::time::Instant::now();
    assert_eq!(tokenizer.decode(&tokenizer.encode(&word)), word);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn sot_sequences_are_openais() {
    let all: HashMap<_, _> = all()
        .into_iter()
        .map(|(name, tokenizer, _)| (name, tokenizer))
        .collect();
    for (name, language, task, ids) in golden().sot {
        let task = if task == "translate" {
            Task::Translate
        } else {
            Task::Transcribe
        };
        let tokenizer = &all[name.as_str()];
        assert_eq!(
            tokenizer.sot_sequence(language.as_deref(), task, false),
            ids,
            "{name} {language:?}"
        );
        let with = [ids, vec![tokenizer.no_timestamps()]].concat();
        assert_eq!(
            tokenizer.sot_sequence(language.as_deref(), task, true),
            with,
            "{name} {language:?}"
        );
    }
}

#[test]
fn blank_is_a_space() {
    for (name, tokenizer, _) in all() {
        assert_eq!(tokenizer.blank_tokens(), tokenizer.encode(" "), "{name}");
        assert_eq!(tokenizer.blank_tokens(), [220], "{name}");
    }
}

#[derive(Deserialize)]
struct Stored {
    segments: Vec<StoredSegment>,
}

#[derive(Deserialize)]
struct StoredSegment {
    text: String,
    tokens: Vec<u32>,
}

#[test]
fn every_stored_segment_decodes_to_its_text() {
    let Some(folder) = crate::comparison::reference() else {
        return;
    };
    let golden = golden();
    let (multilingual, english) = (openai(&golden.multilingual), openai(&golden.en));
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder.join("reference")).expect("the reference folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(stem) = name.strip_suffix(".json") else {
            continue;
        };
        let tokenizer = if stem.ends_with(".tiny.en") {
            &english
        } else {
            &multilingual
        };
        let json = std::fs::read(&path).expect("a reference file");
        let modes: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&json).expect("JSON");
        let stored = modes
            .into_values()
            .filter_map(|mode| serde_json::from_value::<Stored>(mode).ok());
        for segment in stored.flat_map(|mode| mode.segments) {
            seen += 1;
            let eot = tokenizer.eot();
            let text: Vec<u32> = segment
                .tokens
                .iter()
                .copied()
                .filter(|id| *id < eot)
                .collect();
            if tokenizer.decode(&text) != segment.text {
                wrong.push((name.clone(), segment.text));
            }
        }
    }
    assert!(seen > 500, "only {seen} segments found");
    assert!(wrong.is_empty(), "{} of {seen}: {wrong:#?}", wrong.len());
}
