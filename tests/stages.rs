//! Stage by stage against tensors stored from openai/whisper, fed the same samples.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use undertone::Engine;
use undertone::mel::MelExtractor;
use undertone::model::StepWindow;

use crate::support;

/// Largest absolute difference over the largest absolute value that is due.
fn relative_error(name: &str, got: &Tensor, want: &Tensor) -> f64 {
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap()
    };
    let (got, want) = (flat(got), flat(want));
    assert_eq!(got.len(), want.len(), "{name}: size");
    let largest = want.iter().fold(0f64, |m, x| m.max(x.abs()));
    let error = got
        .iter()
        .zip(&want)
        .fold(0f64, |m, (g, w)| m.max((g - w).abs()));
    eprintln!(
        "{name}: max abs error {error:.2e} of {largest:.3}; {:?} vs {:?}",
        &got[..3],
        &want[..3]
    );
    error / largest
}

fn log_mel(engine: &Engine, pcm: &Tensor) -> Vec<f32> {
    let mut extractor = MelExtractor::new(engine.model().dims().n_mels);
    extractor.push(&pcm.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let mut window = vec![0f32; engine.model().dims().n_mels * 3000];
    extractor.finish().write_window(0, 3000, &mut window);
    window
}

/// Greedy decoding without any filter: the prompt, then the best token until end of text.
fn raw_greedy(
    engine: &Engine,
    audio: &Tensor,
    prompt: &[u32],
    most: usize,
) -> (Vec<u32>, Vec<Tensor>) {
    let model = engine.model();
    let audio = model.audio_state(audio).unwrap();
    let mut text = model.text_state(1);
    let (mut tokens, mut next, mut steps) = (prompt.to_vec(), prompt.to_vec(), Vec::new());
    while tokens.len() < most {
        let logits_at = [next.len() - 1];
        let logits = model
            .step(&mut [StepWindow {
                audio: &audio,
                text: &mut text,
                tokens: &next,
                rows: 1,
                logits_at: &logits_at,
            }])
            .unwrap();
        let best = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap()[0];
        steps.push(logits);
        tokens.push(best);
        next = vec![best];
    }
    (tokens, steps)
}

fn check(model: &'static str) {
    let (Some(folder), Some(engine)) = (support::reference(), support::engine(model)) else {
        return;
    };
    let file = Path::new(&folder).join(format!("reference/stages/jfk.{model}.safetensors"));
    let stored = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let stage = |name: &str| &stored[name];

    let mel = log_mel(engine, stage("pcm"));
    let want = stage("log_mel_window")
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let worst = mel
        .iter()
        .zip(&want)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    eprintln!("{model} mel: max abs error {worst:.2e}");
    assert!(worst <= 1e-4, "mel: {worst}");

    let (stem, block0) = engine.model().encoder_stages(&mel).unwrap();
    let audio = engine.model().encode(&mel).unwrap();
    for (name, got) in [
        ("encoder_stem", &stem),
        ("encoder_block0", &block0),
        ("encoder_out", &audio),
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
    let (got, logits) = raw_greedy(engine, &audio, &prompt, want.len());
    assert_eq!(got, want, "{model}: raw greedy tokens");
    let error = relative_error(
        "prompt_logits_last",
        &logits[0],
        stage("prompt_logits_last"),
    );
    assert!(error <= 1e-4, "{model} prompt logits: {error}");
    let first = Tensor::cat(&logits[..3], 0).unwrap();
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
