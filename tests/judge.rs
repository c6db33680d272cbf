//! Executors against the plain network in doubles, stage by stage, on random weights of every shape in the
//! catalogue: no checkpoint is needed, and none is trusted.

use std::sync::Arc;

use undertone::attention::{Registry, Request, plan};
use undertone::internals::dims::N_FRAMES;
use undertone::internals::kernels::Cpu;
use undertone::internals::model::{
    self, CrossWeights, EncoderStages, Network, ReferenceNetwork, StepWindow,
};
use undertone::internals::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use undertone::weights::{WeightSource, hub};
use undertone::{
    ComputeType, DecodingOptions, Engine, Executor, ModelDimensions, SimdLevel, TranscribeOptions,
};

use crate::support::weights::{Random, RandomWeights};
use crate::support::{relative_error, worst};

/// Largest error over the largest value that is due.
struct Errors {
    stem: f64,
    block0: f64,
    output: f64,
    logits: f64,
    weights: f64,
}

/// What 32-bit floats may differ by. Measured at most: 4e-6, of attention weights; 3e-6 elsewhere.
const F32: Errors = Errors {
    stem: 1e-5,
    block0: 1e-5,
    output: 1e-5,
    logits: 1e-5,
    weights: 1e-5,
};
/// What bytes may differ by, half as much again as measured at most: 0.0126, 0.0225, 0.0320, 0.0292 and 0.0476.
const INT8: Errors = Errors {
    stem: 0.019,
    block0: 0.034,
    output: 0.048,
    logits: 0.044,
    weights: 0.071,
};
/// What weights of 4 bits in the decoder may differ by, half as much again as measured: 0.20
/// and 0.069.
const INT4: Errors = Errors {
    logits: 0.3,
    weights: 0.104,
    ..INT8
};

/// What half floats may differ by, half as much again as measured: 5.4e-4, 6.2e-4, 7.9e-4, 4.6e-4 and 1.7e-3.
const F16: Errors = Errors {
    stem: 8.1e-4,
    block0: 9.3e-4,
    output: 1.2e-3,
    logits: 7e-4,
    weights: 2.6e-3,
};

/// What 8-bit floats behind the encoder's norms may: 5.4e-4, 3.9e-2, 6.2e-2, 4.1e-2 and 6.3e-2.
const FP8: Errors = Errors {
    stem: F16.stem,
    block0: 0.059,
    output: 0.093,
    logits: 0.062,
    weights: 0.095,
};

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["stem", "block0", "output", "logits", "weights"];
        let mut each = names.iter().zip(self.each());
        each.try_for_each(|(name, error)| write!(f, "{name} {error:.1e}, "))
    }
}

impl Errors {
    fn each(&self) -> [f64; 5] {
        [
            self.stem,
            self.block0,
            self.output,
            self.logits,
            self.weights,
        ]
    }

    fn within(&self, bars: &Self) -> bool {
        self.each()
            .iter()
            .zip(bars.each())
            .all(|(error, bar)| *error <= bar)
    }
}

/// One window's part of a step: which beam each row continues, and its new tokens.
struct Part {
    parents: &'static [usize],
    tokens: &'static [u32],
    rows: usize,
}

const fn part(parents: &'static [usize], tokens: &'static [u32], rows: usize) -> Part {
    Part {
        parents,
        tokens,
        rows,
    }
}

/// Beams of both windows.
const BEAMS: [usize; 2] = [3, 2];
/// Two windows at once: their prompts, then three steps of beams that change places.
const SCRIPT: [[Part; 2]; 4] = [
    [
        part(&[], &[50_257, 17, 4_000, 51_000, 9], 1),
        part(&[], &[3, 50_300], 1),
    ],
    [
        part(&[0, 0, 0], &[100, 200, 300], 3),
        part(&[0, 0], &[51_800, 7], 2),
    ],
    [
        part(&[2, 0, 1], &[5, 40_000, 5], 3),
        part(&[1, 1], &[12, 13], 2),
    ],
    [
        part(&[1, 1, 0], &[1, 2, 3], 3),
        part(&[0, 1], &[20_000, 0], 2),
    ],
];

/// What a network makes of two windows and the script.
pub struct Run {
    stages: EncoderStages,
    logits: Vec<f32>,
    greedy: Vec<u32>,
    weights: Vec<CrossWeights>,
}

/// Log-mel of noise, `(n_mels, frames)`.
fn noise(n_mels: usize, frames: usize) -> Vec<f32> {
    let mut random = Random::new(frames as u64);
    (0..n_mels * frames)
        .map(|_| 0.5 * random.normal())
        .collect()
}

pub fn run(network: &dyn Network, frames: [usize; 2]) -> Run {
    let dims = network.dims();
    let mels = frames.map(|frames| noise(dims.n_mels, frames));
    let mut audio = [
        network.audio_state().unwrap(),
        network.audio_state().unwrap(),
    ];
    network.encode(&[&mels[0], &mels[1]], &mut audio).unwrap();
    let mut texts = BEAMS.map(|beams| network.text_state(beams).unwrap());
    let last = (dims.n_text_layer - 1, dims.n_text_head - 1);
    texts[0].watch(&[last, (0, 0), (0, 1)]);
    let allowed = AllowedRuns::new(dims.n_vocab, &[]);
    let (mut logits, mut greedy) = (Vec::new(), Vec::new());
    for parts in &SCRIPT {
        let windows = audio.iter().zip(&mut texts).zip(parts);
        let mut windows: Vec<_> = windows
            .map(|((audio, text), part)| {
                if !part.parents.is_empty() {
                    text.reorder(part.parents);
                }
                StepWindow {
                    audio,
                    text,
                    tokens: part.tokens,
                    rows: part.rows,
                    queries: queries(&allowed, dims.n_vocab, part),
                }
            })
            .collect();
        for answer in model::step(network, &mut windows).unwrap() {
            match answer {
                Answer::Choice(choice) => greedy.push(choice.unwrap().token),
                other => logits.extend(other.into_logits()),
            }
        }
    }
    let weights = |beam| {
        network
            .cross_weights(&audio[0], &texts[0], beam, Vec::new())
            .unwrap()
    };
    Run {
        stages: network.encoder_stages(&mels[0]).unwrap(),
        logits,
        greedy,
        weights: (0..BEAMS[0]).map(weights).collect(),
    }
}

/// Of every row the logits and the best token behind its last one; of prompts also behind the first.
fn queries<'a>(allowed: &'a AllowedRuns, n_vocab: usize, part: &Part) -> Vec<Query<'a>> {
    let new = part.tokens.len() / part.rows;
    let ask = |row, at, want| Query {
        row,
        at,
        constraint: Constraint::plain(allowed, n_vocab),
        want,
    };
    let both = |row| [Wanted::Logits, Wanted::Best].map(|want| ask(row, new - 1, want));
    let first = (new > 1).then(|| ask(0, 0, Wanted::Logits));
    first
        .into_iter()
        .chain((0..part.rows).flat_map(both))
        .collect()
}

impl Run {
    fn errors(&self, judge: &Self) -> Errors {
        let stage = |of: fn(&EncoderStages) -> &Vec<f32>| {
            relative_error(of(&self.stages), of(&judge.stages))
        };
        let beams = self.weights.iter().zip(&judge.weights);
        let weights = beams.map(|(got, want)| {
            let shape = |x: &CrossWeights| (x.heads.clone(), x.tokens, x.positions);
            assert_eq!(shape(got), shape(want));
            relative_error(&got.weights, &want.weights)
        });
        Errors {
            stem: stage(|stages| &stages.stem),
            block0: stage(|stages| &stages.block0),
            output: stage(|stages| &stages.output),
            logits: relative_error(&self.logits, &judge.logits),
            weights: worst(weights),
        }
    }
}

fn load(
    executor: Executor,
    weights: &RandomWeights,
    compute: ComputeType,
    cpu: Cpu,
) -> Arc<dyn Network> {
    let registry = Registry::new(executor.backends(&cpu, compute));
    let plan = plan(&Request::default(), &registry, weights.dims()).unwrap();
    executor.load(weights, compute, cpu, plan, None).unwrap()
}

/// The shapes of the catalogue with their models, each once. Networks of more than six layers get two: all of
/// them are alike.
fn shapes() -> Vec<(ModelDimensions, Vec<&'static str>)> {
    let mut shapes: Vec<(ModelDimensions, Vec<&str>)> = Vec::new();
    for entry in hub::catalog() {
        let mut dims = entry.dims();
        for layers in [&mut dims.n_audio_layer, &mut dims.n_text_layer] {
            *layers = if *layers > 6 { 2 } else { *layers };
        }
        match shapes.iter_mut().find(|(known, _)| *known == dims) {
            Some((_, names)) => names.push(&entry.name),
            None => shapes.push((dims, vec![&entry.name])),
        }
    }
    shapes
}

/// Runs an executor and says what is beyond its bars.
pub fn judged(
    name: &str,
    network: &dyn Network,
    frames: [usize; 2],
    judge: &Run,
) -> Option<String> {
    let compute = network.describe().compute;
    let run = run(network, frames);
    let errors = run.errors(judge);
    let same = run.greedy == judge.greedy;
    let line = format!("{name} {}: {errors}greedy same: {same}", compute.name());
    eprintln!("{line}");
    let fine = match compute {
        ComputeType::F32 => errors.within(&F32) && same,
        ComputeType::F16 => errors.within(&F16),
        ComputeType::Fp8 => errors.within(&FP8),
        ComputeType::Int4 => errors.within(&INT4),
        _ => errors.within(&INT8),
    };
    (!fine).then_some(line)
}

#[test]
fn every_shape_computes_what_the_plain_network_does() {
    let mut failures = Vec::new();
    let shapes = shapes();
    assert!(shapes.len() >= 12, "{} shapes", shapes.len());
    for (dims, names) in shapes {
        // One shape in whole windows, the others in short ones of an odd number of positions.
        let frames = if names.contains(&"tiny") {
            [N_FRAMES, 1_000]
        } else {
            [206, 90]
        };
        let weights = RandomWeights::new(dims);
        let judge = run(&ReferenceNetwork::judge(&weights).unwrap(), frames);
        for compute in [ComputeType::F32, ComputeType::Int8] {
            let network = load(Executor::Cpu, &weights, compute, Cpu::new(None, None));
            failures.extend(judged(&names.join(", "), &*network, frames, &judge));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_vector_level_and_the_plain_executor_agree_with_doubles() {
    let mut failures = Vec::new();
    let frames = [206, 90];
    let dims = hub::find("tiny.en").unwrap().dims();
    let weights = RandomWeights::new(dims);
    let judge = run(&ReferenceNetwork::judge(&weights).unwrap(), frames);
    for level in SimdLevel::available() {
        for compute in [ComputeType::F32, ComputeType::Int8, ComputeType::Int4] {
            let network = load(
                Executor::Cpu,
                &weights,
                compute,
                Cpu::new(Some(2), Some(level)),
            );
            failures.extend(judged(level.name(), &*network, frames, &judge));
        }
    }
    let cpu = Cpu::new(None, None);
    let plain = load(Executor::Reference, &weights, ComputeType::F32, cpu);
    failures.extend(judged("reference", &*plain, frames, &judge));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_output_matrix_of_its_own_is_computed_with() {
    let frames = [206, 90];
    let dims = hub::find("tiny.en").unwrap().dims();
    let tied = run(
        &ReferenceNetwork::judge(&RandomWeights::new(dims.clone())).unwrap(),
        frames,
    );
    let weights = RandomWeights::with_own_output(dims);
    let judge = run(&ReferenceNetwork::judge(&weights).unwrap(), frames);
    assert!(!judge.errors(&tied).within(&INT8) && judge.greedy != tied.greedy);
    for compute in [ComputeType::F32, ComputeType::Int8] {
        let network = load(Executor::Cpu, &weights, compute, Cpu::new(None, None));
        let failure = judged("own output", &*network, frames, &judge);
        assert_eq!(failure, None);
    }
}

#[test]
fn the_whole_product_runs_on_the_plain_network() {
    let text = |executor| {
        let engine = Engine::builder()
            .model("models/pico")
            .executor(executor)
            .without_packed_copies()
            .build()
            .unwrap();
        assert_eq!(
            engine.network().describe().executor,
            Executor::name(executor)
        );
        let options = TranscribeOptions {
            decoding: DecodingOptions {
                language: Some("en".into()),
                beam_size: Some(3),
                sample_len: Some(20),
                ..DecodingOptions::default()
            },
            ..TranscribeOptions::default()
        };
        let transcript = engine
            .transcribe("examples/audio/es_conteo.wav", &options)
            .unwrap();
        let tokens = transcript.segments.into_iter().flat_map(|s| s.tokens);
        tokens.collect::<Vec<_>>()
    };
    let plain = text(Executor::Reference);
    assert!(!plain.is_empty());
    assert_eq!(plain, text(Executor::Cpu));
    let refused = Engine::builder()
        .model("models/pico")
        .executor(Executor::Reference)
        .compute_type(ComputeType::Int8)
        .build();
    let reason = refused.err().unwrap().to_string();
    assert!(reason.contains("int8"), "{reason}");
}
