//! The executors that the contract is held over, and a network small enough to hold it fast.

use std::path::Path;
use std::sync::Arc;

use undertone::attention::{AttentionBackend, Request};
use undertone::internals::model::{self, AudioState, Network, StepWindow, TextState};
use undertone::internals::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use undertone::{ComputeType, Engine, EngineBuilder};

const FRAMES: usize = 3000;
pub const POSITIONS: usize = 1500;
pub const LAYERS: usize = 2;
pub const HEADS: usize = 4;
pub const PROMPT: [u32; 5] = [1001, 7, 300, 41, 999];

/// An executor under test.
pub struct Executor {
    pub name: &'static str,
    /// How far a row's logits may be from those of the row alone: 0 is the same bits.
    pub alone: f64,
    builder: EngineBuilder,
}

impl Executor {
    pub fn network(&self) -> Arc<dyn Network> {
        let engine = self.builder.clone().build().unwrap();
        engine.network().clone()
    }

    /// The same with an attention backend of the test's own in every role.
    pub fn network_with(&self, backend: Arc<dyn AttentionBackend>) -> Arc<dyn Network> {
        let request = Request {
            backend: Some(backend.name().to_owned()),
            ..Request::default()
        };
        let builder = self.builder.clone().backend(backend).attention(request);
        builder.build().unwrap().network().clone()
    }
}

/// Every executor there is, with the folder that their weights are in.
pub fn executors() -> (tempfile::TempDir, Vec<Executor>) {
    let folder = four_heads();
    let pico = || {
        Engine::builder()
            .model(folder.path().display().to_string())
            .without_packed_copies()
    };
    let cpu = |name, compute, threads| Executor {
        name,
        alone: 0.0,
        builder: pico().compute_type(compute).threads(threads),
    };
    let all = vec![
        cpu("cpu f32", ComputeType::F32, 2),
        cpu("cpu f32, one thread", ComputeType::F32, 1),
        cpu("cpu int8", ComputeType::Int8, 2),
        cpu("cpu int4", ComputeType::Int4, 2),
        Executor {
            name: "reference",
            alone: 0.0,
            builder: pico().executor(undertone::Executor::Reference),
        },
    ];
    (folder, all)
}

/// The repository's small model, whose one head of 64 becomes four of 16.
fn four_heads() -> tempfile::TempDir {
    let pico = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pico");
    let folder = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(pico.join(file), folder.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string(pico.join("config.json")).unwrap();
    let config = config.replace("attention_heads\": 1", "attention_heads\": 4");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    folder
}

/// A window that hums at a pitch, `(n_mels, 3000)`.
pub fn mel(n_mels: usize, pitch: usize) -> Vec<f32> {
    let value = |i: usize| ((i / FRAMES * pitch + i % FRAMES / 7) as f32 * 0.37).sin() * 0.8;
    (0..n_mels * FRAMES).map(value).collect()
}

pub fn encoded(network: &dyn Network, pitch: usize) -> AudioState {
    let mel = mel(network.dims().n_mels, pitch);
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let [audio] = audio;
    audio
}

/// A window's part of a step that asks for the last logits of every row.
pub fn window<'a>(
    audio: &'a AudioState,
    text: &'a mut TextState,
    tokens: &'a [u32],
    rows: usize,
    allowed: &'a AllowedRuns,
    n_vocab: usize,
) -> StepWindow<'a> {
    let query = |row| Query {
        row,
        at: tokens.len() / rows - 1,
        constraint: Constraint::plain(allowed, n_vocab),
        want: Wanted::Logits,
    };
    StepWindow {
        audio,
        text,
        tokens,
        rows,
        queries: (0..rows).map(query).collect(),
    }
}

/// Feeds rows and gives each row's last logits.
pub fn fed(
    network: &dyn Network,
    audio: &AudioState,
    text: &mut TextState,
    tokens: &[u32],
    rows: usize,
) -> undertone::Result<Vec<Vec<f32>>> {
    let n_vocab = network.dims().n_vocab;
    let allowed = AllowedRuns::new(n_vocab, &[]);
    let window = window(audio, text, tokens, rows, &allowed, n_vocab);
    let answers = model::step(network, &mut [window])?;
    Ok(answers.into_iter().map(Answer::into_logits).collect())
}
