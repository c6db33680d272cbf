//! Windows a second at fixed work: so many windows at once, each encoded and given a prompt and 100 tokens.

use std::time::Instant;

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::{self, AudioState, Network, StepWindow, TextState};
use crate::ranking::{AllowedRuns, Constraint, Query, Wanted};

/// Tokens of a window, behind a prompt of [`PROMPT`].
const TOKENS: usize = 100;
const PROMPT: usize = 4;
/// Windows at once.
const COUNTS: [usize; 5] = [1, 8, 32, 64, 128];

/// The most windows that are measured.
pub(super) const MOST: usize = COUNTS[COUNTS.len() - 1];

/// As many windows at once as the executor has memory for. The second run of each counts.
pub(super) fn measured(network: &dyn Network, mel: &[f32]) -> Result<Vec<Value>> {
    let most = network.feeding().most.map_or(1, |most| most.windows);
    let counts = COUNTS.into_iter().filter(|count| *count <= most);
    let twice = |count| {
        of(network, mel, count)?;
        of(network, mel, count)
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
    Ok(json!({
        "windows": count,
        "encoder_and_prompt_s_per_window": encoded_s / count as f64,
        "step_s": (all_s - encoded_s) / TOKENS as f64,
        "windows_per_s": count as f64 / all_s,
    }))
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
