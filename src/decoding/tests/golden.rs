//! Token for token what openai/whisper's `DecodingTask` samples from the same logits.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::script::{Script, Scripted};
use crate::decoding::WindowDecoder;
use crate::options::{DecodingOptions, SuppressTokens, Task};
use crate::tokenizer::Tokenizer;

#[derive(Debug, Deserialize)]
struct Golden {
    name: String,
    n_vocab: usize,
    script: Script,
    options: Value,
    prompt: Vec<u32>,
    sot_index: usize,
    tokens: Vec<u32>,
    text: String,
    avg_logprob: f64,
    no_speech_prob: f64,
    compression_ratio: f64,
}

/// Reads options as the reference spells them; what is absent keeps its default.
fn options(given: &Value) -> DecodingOptions {
    let whole = |name: &str| given[name].as_u64().map(|n| n as usize);
    let flag = |name: &str, default: bool| given[name].as_bool().unwrap_or(default);
    let tokens = |name: &str| -> Vec<u32> {
        serde_json::from_value(given[name].clone()).unwrap_or_default()
    };
    let max_initial_timestamp = match given.get("max_initial_timestamp") {
        Some(seconds) => seconds.as_f64(),
        None => Some(1.0),
    };
    DecodingOptions {
        task: if given["task"] == "translate" {
            Task::Translate
        } else {
            Task::Transcribe
        },
        language: given["language"].as_str().map(Into::into),
        sample_len: whole("sample_len"),
        beam_size: whole("beam_size"),
        patience: given["patience"].as_f64(),
        length_penalty: given["length_penalty"].as_f64(),
        prompt: tokens("prompt"),
        prefix: tokens("prefix"),
        suppress_tokens: suppress_tokens(given["suppress_tokens"].as_str().unwrap_or("-1")),
        suppress_blank: flag("suppress_blank", true),
        without_timestamps: flag("without_timestamps", false),
        max_initial_timestamp,
        ..DecodingOptions::default()
    }
}

fn suppress_tokens(given: &str) -> SuppressTokens {
    let ids: Vec<i64> = given.split(',').filter_map(|id| id.parse().ok()).collect();
    let tokens = ids
        .iter()
        .filter_map(|id| u32::try_from(*id).ok())
        .collect();
    if ids.contains(&-1) {
        SuppressTokens::NonSpeechAnd(tokens)
    } else {
        SuppressTokens::Only(tokens)
    }
}

fn differences(golden: &Golden, tokenizer: &Arc<Tokenizer>) -> Vec<String> {
    let options = options(&golden.options);
    let made = WindowDecoder::new(tokenizer.clone(), golden.n_vocab, &options, 448);
    let mut decoder = match made {
        Ok(decoder) => decoder,
        Err(error) => return vec![error.to_string()],
    };
    let scripted = Scripted::new(&golden.script, tokenizer, golden.n_vocab as u64);
    let result = scripted.decode(&mut decoder);
    let near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance;
    // The reference adds up the vocabulary in single precision; ours is closer to the true sum.
    let same_logprob = near(result.avg_logprob, golden.avg_logprob, 3e-5);
    let checks = [
        ("prompt", decoder.prompt() == golden.prompt),
        ("sot_index", decoder.sot_index() == golden.sot_index),
        ("tokens", result.tokens == golden.tokens),
        ("text", result.text == golden.text),
        ("avg_logprob", same_logprob),
        (
            "no_speech_prob",
            near(result.no_speech_prob, golden.no_speech_prob, 1e-5),
        ),
        (
            "compression_ratio",
            result.compression_ratio == golden.compression_ratio,
        ),
    ];
    let wrong = checks.iter().filter(|(_, same)| !same);
    wrong
        .map(|(what, _)| format!("{what} differs: {result:?}"))
        .collect()
}

#[test]
fn every_scripted_window_comes_out_as_the_reference_has_it() {
    let goldens = include_str!("../../../tests/golden/decoding/windows.json");
    let goldens: Vec<Golden> = serde_json::from_str(goldens).expect("the golden file is JSON");
    let mut tokenizers: HashMap<usize, Arc<Tokenizer>> = HashMap::new();
    let mut failures = Vec::new();
    for golden in &goldens {
        let tokenizer = tokenizers.entry(golden.n_vocab).or_insert_with(|| {
            Arc::new(Tokenizer::openai("test", golden.n_vocab).expect("a known size"))
        });
        let wrong = differences(golden, tokenizer);
        failures.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("{}: {wrong}", golden.name)),
        );
    }
    assert!(goldens.len() > 50, "the golden file is cut short");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
