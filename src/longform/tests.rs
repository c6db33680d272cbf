//! The sequential long form: against what openai/whisper's `transcribe()` made of the same decoding
//! results, and where it would not come to an end.

use serde::Deserialize;
use serde_json::Value;

use crate::decoding::DecodingResult;
use crate::decoding::fallback::{at_temperature, next_temperature};
use crate::error::{Error, Result};
use crate::longform::prompt::History;
use crate::longform::segments::{WindowSpan, segments_from_tokens};
use crate::longform::{DecodeWindows, Recording, WindowRequest, transcribe_sequential};
use crate::options::{DecodingOptions, TranscribeOptions};
use crate::tokenizer::Tokenizer;
use crate::transcript::{Segment, Transcript};

/// `<|0.00|>` of the multilingual vocabulary.
const BEGIN: u32 = 50_364;

fn tokenizer() -> Tokenizer {
    Tokenizer::openai("test", 51_865).expect("a known size")
}

/// Decodes by a closure, one window at a time.
struct Scripted<F> {
    decode: F,
    result: Option<DecodingResult>,
}

impl<F: FnMut(WindowRequest<'_>) -> Result<DecodingResult>> Scripted<F> {
    fn by(decode: F) -> Self {
        Self {
            decode,
            result: None,
        }
    }
}

impl<F: FnMut(WindowRequest<'_>) -> Result<DecodingResult>> DecodeWindows for Scripted<F> {
    fn submit(&mut self, _: usize, window: WindowRequest<'_>) -> Result<()> {
        self.result = Some((self.decode)(window)?);
        Ok(())
    }

    fn next_result(&mut self) -> Result<(usize, DecodingResult)> {
        Ok((0, self.result.take().expect("a window was submitted")))
    }
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    frames: usize,
    options: Value,
    windows: Vec<GoldenWindow>,
    segments: Vec<Value>,
    text: String,
}

#[derive(Deserialize)]
struct GoldenWindow {
    seek: usize,
    size: usize,
    prompt: Vec<u32>,
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    temperature: f64,
    beam_size: Option<usize>,
    best_of: Option<usize>,
    patience: Option<f64>,
    tokens: Vec<u32>,
    avg_logprob: f64,
    no_speech_prob: f64,
    compression_ratio: f64,
}

impl Attempt {
    fn result(&self) -> DecodingResult {
        DecodingResult {
            tokens: self.tokens.clone(),
            text: String::new(),
            avg_logprob: self.avg_logprob,
            no_speech_prob: self.no_speech_prob,
            temperature: self.temperature,
            compression_ratio: self.compression_ratio,
            language: "en".into(),
            failed: Vec::new(),
            alignment: None,
            words: None,
            drafted: None,
        }
    }
}

/// Reads options as the reference spells them; what is absent keeps its default.
fn options(given: &Value) -> TranscribeOptions {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("en".into());
    let whole = |name: &str| given[name].as_u64().map(|n| n as usize);
    options.decoding.beam_size = whole("beam_size");
    options.decoding.best_of = whole("best_of");
    options.decoding.patience = given["patience"].as_f64();
    let gates = &mut options.gates;
    for (name, threshold) in [
        (
            "compression_ratio_threshold",
            &mut gates.compression_ratio_threshold,
        ),
        ("logprob_threshold", &mut gates.logprob_threshold),
        ("no_speech_threshold", &mut gates.no_speech_threshold),
    ] {
        if let Some(given) = given.get(name) {
            *threshold = given.as_f64();
        }
    }
    match &given["temperature"] {
        Value::Null => {}
        Value::Array(all) => gates.temperatures = all.iter().filter_map(Value::as_f64).collect(),
        one => gates.temperatures = one.as_f64().into_iter().collect(),
    }
    let flag = |name: &str, default| given[name].as_bool().unwrap_or(default);
    options.condition_on_previous_text = flag("condition_on_previous_text", true);
    options.carry_initial_prompt = flag("carry_initial_prompt", false);
    options.initial_prompt = given["initial_prompt"].as_str().map(Into::into);
    options.clip_timestamps = match &given["clip_timestamps"] {
        Value::String(listed) => listed.split(',').filter_map(|s| s.parse().ok()).collect(),
        listed => serde_json::from_value(listed.clone()).unwrap_or_default(),
    };
    options
}

/// Answers with a golden's results, and notes where it is asked for something else.
struct Replay<'a> {
    windows: std::slice::Iter<'a, GoldenWindow>,
    wrong: Vec<String>,
}

impl Replay<'_> {
    fn decode(&mut self, asked: WindowRequest<'_>) -> Result<DecodingResult> {
        let Some(golden) = self.windows.next() else {
            self.wrong
                .push(format!("one more window at {}", asked.seek_frames));
            return Err(Error::Cancelled);
        };
        let place = (asked.seek_frames, asked.segment_frames);
        if place != (golden.seek, golden.size) {
            self.wrong.push(format!(
                "{place:?} instead of {} {}",
                golden.seek, golden.size
            ));
        }
        if asked.options.prompt != golden.prompt {
            self.wrong
                .push(format!("another prompt at {}", golden.seek));
        }
        let mut temperature = asked.gates.temperatures[0];
        for (attempt, made) in golden.attempts.iter().enumerate() {
            let options = at_temperature(asked.options, temperature);
            let found = (
                options.temperature,
                options.beam_size,
                options.best_of,
                options.patience,
            );
            let expected = (
                made.temperature,
                made.beam_size,
                made.best_of,
                made.patience,
            );
            if found != expected {
                self.wrong
                    .push(format!("{found:?} instead of {expected:?}"));
            }
            match next_temperature(asked.gates, attempt, &made.result()) {
                Some(next) => temperature = next,
                None if attempt + 1 == golden.attempts.len() => return Ok(made.result()),
                None => break,
            }
        }
        self.wrong.push(format!(
            "the ladder is climbed differently at {}",
            golden.seek
        ));
        Err(Error::Cancelled)
    }
}

fn is_same(segment: &Segment, golden: &Value) -> bool {
    let number = |name: &str| golden[name].as_f64();
    golden["id"] == segment.id
        && golden["seek"] == segment.seek
        && number("start") == Some(segment.start)
        && number("end") == Some(segment.end)
        && golden["text"] == segment.text.as_str()
        && golden["tokens"] == Value::from(segment.tokens.clone())
        && number("temperature") == Some(segment.temperature)
        && number("avg_logprob") == Some(segment.avg_logprob)
        && number("compression_ratio") == Some(segment.compression_ratio)
        && number("no_speech_prob") == Some(segment.no_speech_prob)
        && golden.get("words").is_some() == segment.words.is_some()
}

fn differences(golden: &Golden, tokenizer: &Tokenizer) -> Vec<String> {
    let mut replay = Replay {
        windows: golden.windows.iter(),
        wrong: Vec::new(),
    };
    let (mut sunk, mut reported) = (Vec::new(), Vec::new());
    let made = transcribe_sequential(
        &golden.frames.into(),
        &mut Recording::new(tokenizer, options(&golden.options), 448),
        &mut Scripted::by(|asked: WindowRequest<'_>| replay.decode(asked)),
        &mut |segment: &Segment| {
            sunk.push(segment.clone());
            Ok(())
        },
        &mut |done_s| reported.push(done_s),
    );
    let mut wrong = std::mem::take(&mut replay.wrong);
    let Transcript {
        text,
        segments,
        language,
        ..
    } = match made {
        Ok(transcript) => transcript,
        Err(error) => return [wrong, vec![error.to_string()]].concat(),
    };
    let pairs = segments.iter().zip(&golden.segments);
    let differ = pairs.filter(|(segment, golden)| !is_same(segment, golden));
    wrong.extend(differ.map(|(segment, golden)| format!("{segment:?} instead of {golden}")));
    let checks = [
        (
            "number of segments",
            segments.len() == golden.segments.len(),
        ),
        ("text", text == golden.text),
        ("language", language == "en"),
        ("what the sink got", sunk == segments),
        ("number of windows", reported.len() == golden.windows.len()),
        (
            "progress",
            reported.iter().all(|s| *s <= golden.frames as f64 / 100.0),
        ),
    ];
    wrong.extend(
        checks
            .iter()
            .filter(|(_, same)| !same)
            .map(|(what, _)| (*what).to_owned()),
    );
    wrong
}

#[test]
fn every_recording_comes_out_as_the_reference_has_it() {
    let goldens = include_str!("../../tests/golden/decoding/recordings.json");
    let goldens: Vec<Golden> = serde_json::from_str(goldens).expect("the golden file is JSON");
    let tokenizer = tokenizer();
    let mut failures = Vec::new();
    for golden in &goldens {
        let wrong = differences(golden, &tokenizer);
        failures.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("{}: {wrong}", golden.name)),
        );
    }
    assert!(goldens.len() > 20, "the golden file is cut short");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn result(tokens: &[u32]) -> DecodingResult {
    DecodingResult {
        tokens: tokens.to_vec(),
        text: String::new(),
        avg_logprob: -0.3,
        no_speech_prob: 0.1,
        temperature: 0.0,
        compression_ratio: 1.0,
        language: "en".into(),
        failed: Vec::new(),
        alignment: None,
        words: None,
        drafted: None,
    }
}

#[test]
fn tokens_become_segments_and_the_next_window() {
    let tokenizer = tokenizer();
    let at = |steps: u32| BEGIN + steps;
    // tokens; starts and ends in frames after the window's; next window; closed at the end
    let cases = [
        (vec![], vec![(0, 700)], 700, false),
        (vec![1000], vec![(0, 700)], 700, false),
        (vec![at(0), 1000], vec![(0, 700)], 700, false),
        (vec![at(0), 1000, at(100)], vec![(0, 200)], 700, true),
        (vec![at(0), 1000, at(400)], vec![(0, 800)], 700, true),
        (
            vec![at(5), 1000, at(100), at(100)],
            vec![(10, 200)],
            200,
            false,
        ),
        (
            vec![at(5), 1000, at(100), at(120), 1001],
            vec![(10, 200)],
            200,
            false,
        ),
        (
            vec![at(0), 1000, at(50), at(60), 1001, at(90)],
            vec![(0, 100), (120, 180)],
            700,
            true,
        ),
        // What only sampling without rules can give: no standstill, no time before the window.
        (vec![at(0), at(0), 1000], vec![(0, 0)], 700, false),
        (vec![1000, at(30), at(30), 1001], vec![(0, 60)], 60, false),
    ];
    let span = WindowSpan {
        seek_frames: 4000,
        segment_frames: 700,
    };
    for (tokens, times, next, closed) in cases {
        let cut = segments_from_tokens(&tokenizer, span, &result(&tokens));
        let frame = |s: f64| (s * 100.0).round() as i64 - 4000;
        let found: Vec<_> = cut
            .segments
            .iter()
            .map(|s| (frame(s.start), frame(s.end)))
            .collect();
        assert_eq!(found, times, "{tokens:?}");
        assert_eq!(cut.next_seek_frames, 4000 + next, "{tokens:?}");
        assert_eq!(cut.single_timestamp_ending, closed, "{tokens:?}");
    }
}

#[test]
fn added_text_behind_the_timestamps_is_text() {
    let specials = [
        "endoftext",
        "startoftranscript",
        "startofprev",
        "notimestamps",
    ];
    let specials = specials.iter().zip(1..);
    let mut added: Vec<_> = specials
        .map(|(name, id)| serde_json::json!({"id": id, "content": format!("<|{name}|>")}))
        .collect();
    added.push(serde_json::json!({"id": 5 + 1501, "content": " added"}));
    let json = serde_json::json!({"added_tokens": added, "model": {"vocab": {"a": 0}}}).to_string();
    let tokenizer = Tokenizer::from_bytes("v", json.as_bytes(), Some(1520)).expect("a good file");
    let (at, new) = (|steps: u32| 5 + steps, 5 + 1501);
    let span = WindowSpan {
        seek_frames: 0,
        segment_frames: 3000,
    };
    let cut = segments_from_tokens(&tokenizer, span, &result(&[at(0), 0, new, at(100)]));
    assert!(cut.single_timestamp_ending);
    assert_eq!(
        (cut.segments[0].text.as_str(), cut.segments[0].end),
        ("a added", 2.0)
    );
    let tokens = [at(0), new, at(100), at(100), new];
    let cut = segments_from_tokens(&tokenizer, span, &result(&tokens));
    assert_eq!((cut.segments.len(), cut.next_seek_frames), (1, 200));
    assert_eq!(cut.segments[0].text, " added");
}

/// Runs a recording of 70 s with the same tokens in every window; gives the seeks and prefixes.
fn seeks(options: &TranscribeOptions, tokens: &[u32]) -> Vec<(usize, Vec<u32>, u64)> {
    let mut asked = Vec::new();
    let decode = |window: WindowRequest<'_>| {
        let WindowRequest {
            seek_frames,
            options,
            ..
        } = window;
        asked.push((seek_frames, options.prefix.clone(), options.seed));
        Ok(result(tokens))
    };
    let made = transcribe_sequential(
        &7000.into(),
        &mut Recording::new(&tokenizer(), options.clone(), 448),
        &mut Scripted::by(decode),
        &mut |_: &Segment| Ok(()),
        &mut |_| {},
    );
    assert!(made.is_ok());
    asked
}

#[test]
fn windows_always_move_on() {
    let options = TranscribeOptions::default();
    let positions = |tokens: &[u32]| -> Vec<usize> {
        seeks(&options, tokens)
            .into_iter()
            .map(|(seek, ..)| seek)
            .collect()
    };
    assert_eq!(positions(&[BEGIN, BEGIN, 1000]), [0, 3000, 6000]);
    assert_eq!(positions(&[]), [0, 3000, 6000]);
    let clips = TranscribeOptions {
        clip_timestamps: vec![10.0, 500.0],
        ..Default::default()
    };
    let positions: Vec<usize> = seeks(&clips, &[1000])
        .into_iter()
        .map(|(seek, ..)| seek)
        .collect();
    assert_eq!(positions, [1000, 4000]);
}

#[test]
fn each_window_has_the_prefix_and_a_seed_of_its_own() {
    let decoding = DecodingOptions {
        seed: 7,
        ..Default::default()
    };
    let prefix = Some("  Hello there ".into());
    let options = TranscribeOptions {
        decoding,
        prefix,
        ..Default::default()
    };
    let expected = tokenizer().encode(" Hello there");
    let asked = seeks(&options, &[1000]);
    assert!(
        asked.iter().all(|(_, prefix, _)| *prefix == expected),
        "{asked:?}"
    );
    let mut seeds: Vec<u64> = asked.iter().map(|(.., seed)| *seed).collect();
    seeds.dedup();
    assert_eq!((seeds.len(), seeds[0]), (3, 7));
    let empty = TranscribeOptions {
        prefix: Some(String::new()),
        ..Default::default()
    };
    assert!(
        seeks(&empty, &[1000])
            .iter()
            .all(|(_, prefix, _)| prefix.is_empty())
    );
}

#[test]
fn errors_of_decoder_and_sink_stop_the_work() {
    let tokenizer = tokenizer();
    let options = TranscribeOptions::default();
    let mut calls = 0;
    let broken = transcribe_sequential(
        &9000.into(),
        &mut Recording::new(&tokenizer, options, 448),
        &mut Scripted::by(|_: WindowRequest<'_>| {
            calls += 1;
            Ok(result(&[1000]))
        }),
        &mut |_: &Segment| Err(Error::Cancelled),
        &mut |_| {},
    );
    assert!(matches!(broken, Err(Error::Cancelled)), "{broken:?}");
    assert_eq!(calls, 1);
}

#[test]
fn a_hot_window_stays_out_of_the_next_prompt() {
    let tokenizer = tokenizer();
    let mut history = History::new(&tokenizer, Some("Names"), false, 448);
    let initial = tokenizer.encode(" Names");
    assert_eq!(history.prompt(), initial);
    history.close_window([1, 2].iter(), true, 0.5);
    assert_eq!(history.prompt(), [initial.as_slice(), &[1, 2]].concat());
    history.close_window([3].iter(), true, 0.6);
    assert!(history.prompt().is_empty());
    history.close_window([4].iter(), true, 0.0);
    assert_eq!(history.prompt(), [4]);
    history.close_window([5].iter(), false, 0.0);
    assert!(history.prompt().is_empty());
}
