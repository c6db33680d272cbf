//! Whether candle's own Whisper reads a GGUF file of ours and hears the same words.
//!
//! usage: undertone-candle-peer GGUF-FOLDER AUDIO LANGUAGE
//!
//! Prints the text of the first 30 seconds, decoded greedily by candle-transformers without timestamps.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use candle_core::{Device, IndexOp as _, Tensor};
use candle_transformers::models::whisper::{Config, audio, quantized_model::Whisper};
use candle_transformers::quantized_var_builder::VarBuilder;
use undertone::Engine;
use undertone::internals::audio::{Limits, open};
use undertone::weights::hub::{self, HubConfig};

const WINDOW: usize = 480_000;
const FRAMES: usize = 3_000;
const MOST_TOKENS: usize = 220;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, recording, language] = &arguments[..] else {
        bail!("usage: undertone-candle-peer GGUF-FOLDER AUDIO LANGUAGE");
    };
    let files = hub::locate(folder, &HubConfig::default())?.context("no model in that folder")?;
    let config = std::fs::read_to_string(files.dir.join("config.json"))?;
    let config: Config = serde_json::from_str(&config)?;
    let weights = VarBuilder::from_gguf(&files.weights, &Device::Cpu)?;
    let mut model = Whisper::load(&weights, config.clone())?;

    // Of this program only what steers: the words are candle's.
    let ours = Engine::builder()
        .model(folder)
        .without_packed_copies()
        .build()?;
    let filters = undertone::ggml_extras(&files)?.mel_filters;
    let mel = audio::pcm_to_mel(&config, &first_window(Path::new(recording))?, &filters);
    let all = mel.len() / config.num_mel_bins;
    let mel = Tensor::from_vec(mel, (1, config.num_mel_bins, all), &Device::Cpu)?;
    let heard = model.encoder.forward(&mel.narrow(2, 0, FRAMES)?, true)?;

    let tokenizer = ours.tokenizer();
    let steering = [
        Some(tokenizer.sot()),
        tokenizer.language_token(language),
        tokenizer.transcribe(),
        Some(tokenizer.no_timestamps()),
    ];
    let mut tokens: Vec<u32> = steering.into_iter().flatten().collect();
    let prompt = tokens.len();
    let never = undertone::ct2_extras(&files)?;
    while tokens.len() - prompt < MOST_TOKENS {
        let rows = Tensor::new(&tokens[..], &Device::Cpu)?.unsqueeze(0)?;
        let hidden = model.decoder.forward(&rows, &heard, true)?;
        let last = hidden.i((.., tokens.len() - 1..))?;
        let mut logits: Vec<f32> = model
            .decoder
            .final_linear(&last)?
            .flatten_all()?
            .to_vec1()?;
        let first = tokens.len() == prompt;
        let barred = never
            .suppress_ids
            .iter()
            .chain(never.suppress_ids_begin.iter().filter(|_| first));
        barred.for_each(|id| logits[*id as usize] = f32::NEG_INFINITY);
        logits.truncate(tokenizer.no_timestamps() as usize);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let best = u32::try_from(best.context("no logits")?)?;
        if best == tokenizer.eot() {
            break;
        }
        tokens.push(best);
    }
    println!("{}", ours.decode_tokens(&tokens[prompt..]).trim());
    Ok(())
}

/// 30 seconds of the recording, silence behind its end.
fn first_window(recording: &Path) -> Result<Vec<f32>> {
    let mut stream = open(recording, &Limits::default())?;
    let mut samples = Vec::new();
    while samples.len() < WINDOW
        && let Some(block) = stream.next_block()?
    {
        samples.extend_from_slice(block);
    }
    samples.resize(WINDOW, 0.0);
    Ok(samples)
}
