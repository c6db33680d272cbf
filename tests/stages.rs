//! Stage by stage against tensors stored from openai/whisper, fed the same samples.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use undertone::internals::mel::MelExtractor;
use undertone::internals::model::Network;
use undertone::{ComputeType, Engine};

use crate::support;

/// A stored tensor's numbers.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
    flat.to_vec1().unwrap()
}

/// Largest absolute difference over the largest absolute value that is due.
fn relative_error(name: &str, got: &[f32], want: &Tensor) -> f64 {
    let error = support::relative_error(got, &numbers(want));
    eprintln!("{name}: {error:.2e} of the largest value");
    error
}

fn log_mel(engine: &Engine, pcm: &Tensor) -> Vec<f32> {
    let mut extractor = MelExtractor::new(engine.network().dims().n_mels);
    extractor.push(&pcm.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let mut window = vec![0f32; engine.network().dims().n_mels * 3000];
    extractor
        .finish()
        .write_window(0, 3000, &mut window)
        .unwrap();
    window
}

/// Greedy decoding without any filter: the prompt, then the best token until end of text. Gives the
/// tokens and each step's logits.
fn raw_greedy(
    network: &dyn Network,
    mel: &[f32],
    prompt: &[u32],
    most: usize,
) -> (Vec<u32>, Vec<Vec<f32>>) {
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[mel], &mut audio).unwrap();
    let mut text = network.text_state(1).unwrap();
    let (mut tokens, mut next, mut steps) = (prompt.to_vec(), prompt.to_vec(), Vec::new());
    while tokens.len() < most {
        let logits = support::last_logits(network, &audio[0], &mut text, &next);
        let best = (0..logits.len()).fold(0, |a, b| if logits[b] > logits[a] { b } else { a });
        steps.push(logits);
        tokens.push(best as u32);
        next = vec![best as u32];
    }
    (tokens, steps)
}

fn check(model: &'static str) {
    let (Some(folder), Some(engine)) = (
        support::reference(),
        support::engine(model, ComputeType::F32),
    ) else {
        return;
    };
    let file = Path::new(&folder).join(format!("reference/stages/jfk.{model}.safetensors"));
    let stored = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let stage = |name: &str| &stored[name];

    let mel = log_mel(engine, stage("pcm"));
    let worst = support::largest_error(&mel, &numbers(stage("log_mel_window")));
    eprintln!("{model} mel: max abs error {worst:.2e}");
    assert!(worst <= 1e-4, "mel: {worst}");

    let stages = engine.network().encoder_stages(&mel).unwrap();
    for (name, got) in [
        ("encoder_stem", &stages.stem),
        ("encoder_block0", &stages.block0),
        ("encoder_out", &stages.output),
    ] {
        let error = relative_error(name, got, stage(name));
        assert!(error <= 1e-4, "{model} {name}: {error}");
    }

    let tokens = |name: &str| -> Vec<u32> {
        stage(name)
            .to_dtype(DType::U32)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    let (prompt, want) = (tokens("prompt_tokens"), tokens("greedy_raw_tokens"));
    let (got, logits) = raw_greedy(&**engine.network(), &mel, &prompt, want.len());
    assert_eq!(got, want, "{model}: raw greedy tokens");
    let error = relative_error(
        "prompt_logits_last",
        &logits[0],
        stage("prompt_logits_last"),
    );
    assert!(error <= 1e-4, "{model} prompt logits: {error}");
    let first = logits[..3].concat();
    let error = relative_error("step_logits", &first, stage("step_logits"));
    assert!(error <= 1e-4, "{model} step logits: {error}");
}

#[test]
fn base_agrees_at_every_stage() {
    check("base");
}

#[test]
fn tiny_en_agrees_at_every_stage() {
    check("tiny.en");
}
