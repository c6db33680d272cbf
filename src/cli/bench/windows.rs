//! Windows a second at fixed work: so many windows at once, each encoded and given a prompt and 100 tokens.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::speed::{step_bytes, window_operations};
use crate::batcher::{Cancel, Capacity, Inbox, WindowJob};
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{self, AudioState, CardTimes, Network, StepWindow, TextState};
use crate::options::{DecodingOptions, Gates, SuppressTokens};
use crate::ranking::{AllowedRuns, Constraint, Query, Wanted};

/// Tokens of a window, behind a prompt of [`PROMPT`].
const TOKENS: usize = 100;
const PROMPT: usize = 4;
/// Windows at once.
const COUNTS: [usize; 5] = [1, 8, 32, 64, 128];

/// The most windows that are measured.
pub(super) const MOST: usize = COUNTS[COUNTS.len() - 1];

/// As many windows at once as the executor has memory for. The second run of each counts.
pub(super) fn measured(engine: &Engine, mel: &[f32]) -> Result<Vec<Value>> {
    let network = &**engine.network();
    let most = network.feeding().most.map_or(1, |most| most.windows);
    let counts = COUNTS.into_iter().filter(|count| *count <= most);
    let twice = |count| {
        of(network, mel, count)?;
        let mut found = of(network, mel, count)?;
        let (seconds, own) = decoded(engine, mel, count)?;
        found["decoded_per_s"] = json!(count as f64 / seconds);
        found["batcher_share"] = json!(own / seconds);
        if found["card"].is_object() {
            let shares = shares(&found).map(|(stage, part)| (stage.to_owned(), json!(part)));
            found["card"]["of_the_time"] = Value::Object(shares.into_iter().collect());
        }
        Ok(found)
    };
    counts.map(twice).collect()
}

fn of(network: &dyn Network, mel: &[f32], count: usize) -> Result<Value> {
    let audio = (0..count).map(|_| network.audio_state());
    let mut audio = audio.collect::<Result<Vec<_>>>()?;
    let texts = (0..count).map(|_| network.text_state(1));
    let mut texts = texts.collect::<Result<Vec<_>>>()?;
    let allowed = AllowedRuns::new(network.dims().n_vocab, &[]);
    let started = Instant::now();
    let mels = vec![mel; count];
    let at_once = network.feeding().windows_an_encode;
    let calls = mels.chunks(at_once).zip(audio.chunks_mut(at_once));
    for (mels, audio) in calls {
        network.encode(mels, audio)?;
    }
    step(network, &audio, &mut texts, &allowed, &[300; PROMPT])?;
    let encoded_s = started.elapsed().as_secs_f64();
    for token in 0..TOKENS as u32 {
        step(network, &audio, &mut texts, &allowed, &[300 + token])?;
    }
    let all_s = started.elapsed().as_secs_f64();
    let card = network.card_times()?;
    let card = card.map(|card| card_alone(network, &card, count));
    Ok(json!({
        "windows": count,
        "encoder_and_prompt_s_per_window": encoded_s / count as f64,
        "step_s": (all_s - encoded_s) / TOKENS as f64,
        "windows_per_s": count as f64 / all_s,
        "card": card,
    }))
}

/// What a card takes by itself for each stage, and what part of its own rates each reaches: products of the tensor
/// cores', reading of the memory's.
fn card_alone(network: &dyn Network, card: &CardTimes, count: usize) -> Value {
    let (dims, state) = (network.dims(), network.describe().state);
    let [encoder, projection] = window_operations(dims);
    let [rows, ranking] = step_bytes(dims, state, count, (PROMPT + TOKENS) as f64);
    json!({
        "encoder_s": card.encoder,
        "projection_s": card.projection,
        "rows_s": card.rows,
        "ranking_s": card.ranking,
        "memory_bytes_per_s": card.rates.map(|rates| rates.memory),
        "tensor_flops": card.rates.map(|rates| rates.tensor),
        "of_rates": card.rates.map(|rates| json!({
            "encoder": encoder / card.encoder / rates.tensor,
            "projection": projection / card.projection / rates.tensor,
            "rows": rows / card.rows / rates.memory,
            "ranking": ranking / card.ranking / rates.memory,
        })),
    })
}

/// What part each stage has of the time that windows take together.
fn shares(row: &Value) -> [(&'static str, f64); 5] {
    let (card, count) = (&row["card"], number(&row["windows"]));
    let all = count / number(&row["decoded_per_s"]);
    let steps = TOKENS as f64;
    let part = |name: &str, times: f64| times * number(&card[name]) / all;
    let of_card = [
        ("encoder", part("encoder_s", count)),
        ("keys and values", part("projection_s", count)),
        ("steps", part("rows_s", steps)),
        ("logits and ranking", part("ranking_s", steps)),
    ];
    let rest = 1.0 - of_card.iter().map(|(_, part)| part).sum::<f64>();
    let [a, b, c, d] = of_card;
    [a, b, c, d, ("host and what waits", rest)]
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Seconds through a batcher, with all that decoding greedily takes, and those of them that were spent outside the
/// network; as many tokens.
fn decoded(engine: &Engine, mel: &[f32], count: usize) -> Result<(f64, f64)> {
    let batcher = engine.batcher(Capacity::of_windows(count))?;
    let end = engine.tokenizer().eot();
    let job = |source| WindowJob {
        mel: mel.to_vec(),
        options: DecodingOptions {
            language: Some("en".into()),
            sample_len: Some(TOKENS),
            suppress_tokens: SuppressTokens::NonSpeechAnd(vec![end]),
            without_timestamps: true,
            ..DecodingOptions::default()
        },
        gates: Gates {
            temperatures: vec![0.0],
            compression_ratio_threshold: None,
            logprob_threshold: None,
            no_speech_threshold: None,
        },
        source,
        cancel: Cancel::default(),
        align: None,
        bias: None,
    };
    let run = || {
        let (jobs, inbox): (Vec<_>, _) = ((0..count as u64).map(job).collect(), Inbox::default());
        let (before, started) = (batcher.counts(), Instant::now());
        for (i, job) in jobs.into_iter().enumerate() {
            batcher.submit(job, i, &inbox)?;
        }
        (0..count).try_for_each(|_| inbox.next().map(drop))?;
        let (seconds, after) = (started.elapsed().as_secs_f64(), batcher.counts());
        let network = after.encode_s + after.step_s - before.encode_s - before.step_s;
        // Several networks work side by side: together longer than that.
        Ok((seconds, (seconds - network).max(0.0)))
    };
    run()?;
    run()
}

/// The same new tokens for every window, the likeliest next one asked for.
fn step(
    network: &dyn Network,
    audio: &[AudioState],
    texts: &mut [TextState],
    allowed: &AllowedRuns,
    tokens: &[u32],
) -> Result<()> {
    let n_vocab = network.dims().n_vocab;
    let windows = audio.iter().zip(texts).map(|(audio, text)| StepWindow {
        audio,
        text,
        tokens,
        rows: 1,
        queries: vec![Query {
            row: 0,
            at: tokens.len() - 1,
            constraint: Constraint::plain(allowed, n_vocab),
            want: Wanted::Best,
        }],
    });
    let mut windows: Vec<StepWindow<'_>> = windows.collect();
    model::step(network, &mut windows).map(drop)
}

/// One line of the table, and more where the card's own times are known.
pub(super) fn line(row: &Value) -> String {
    let ms = |value: &Value| number(value) * 1e3;
    let per_s = |name: &str| number(&row[name]);
    let mut text = format!(
        "  {:>3} windows at once: {:8.1} windows/s; {:.2} ms a window for encoder and prompt, {:.3} ms a step \
         ({:.1} windows/s without the batcher, which takes {:.1} % of the time)",
        row["windows"],
        per_s("decoded_per_s"),
        ms(&row["encoder_and_prompt_s_per_window"]),
        ms(&row["step_s"]),
        per_s("windows_per_s"),
        100.0 * per_s("batcher_share"),
    );
    let card = &row["card"];
    if card.is_object() {
        let of_rate = |stage: &str| match card["of_rates"][stage].as_f64() {
            Some(part) => format!(" ({:.0} %)", 100.0 * part),
            None => String::new(),
        };
        let host = ms(&row["step_s"]) - ms(&card["rows_s"]) - ms(&card["ranking_s"]);
        text += &format!(
            "\n      the card alone: {:.3} ms a window in the encoder{}, {:.3} for keys and values{}; a step {:.3} ms{}, \
             {:.3} of logits and ranking{}, host {host:.3}",
            ms(&card["encoder_s"]),
            of_rate("encoder"),
            ms(&card["projection_s"]),
            of_rate("projection"),
            ms(&card["rows_s"]),
            of_rate("rows"),
            ms(&card["ranking_s"]),
            of_rate("ranking"),
        );
        let shares = shares(row).map(|(stage, part)| format!("{stage} {:.0} %", 100.0 * part));
        text += &format!("\n      of the time: {}", shares.join(", "));
        if card["of_rates"].is_object() {
            text += &format!(
                "; in brackets, of what the card does at its best: {:.0} GB/s of memory, {:.0} TFLOP/s",
                number(&card["memory_bytes_per_s"]) / 1e9,
                number(&card["tensor_flops"]) / 1e12,
            );
        }
    }
    text
}
