//! Every vector level gives the same bytes: the levels of this processor among each other, from a recording to
//! a transcript, and every processor those stored here, from a spectrogram to logits. (A spectrogram itself
//! is made with the system's logarithms and the transform that suits the processor best.)

use std::fmt::Write;

use undertone::attention::{Registry, Request, plan};
use undertone::internals::dims::N_FRAMES;
use undertone::internals::kernels::Cpu;
use undertone::internals::model::Network;
use undertone::{ComputeType, Engine, Executor, SimdLevel, TranscribeOptions};

use crate::support::last_logits;

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/levels.txt");
/// What the CPU computes in.
const COMPUTE: [ComputeType; 3] = [ComputeType::F32, ComputeType::Int8, ComputeType::Int4];

/// The whole transcript with its words and every number in full.
fn json(level: SimdLevel, compute: ComputeType) -> String {
    let engine = Engine::builder()
        .model(PICO)
        .compute_type(compute)
        .simd_level(level)
        .threads(2)
        .without_packed_copies()
        .build()
        .unwrap();
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("es".into());
    options.gates.temperatures = vec![0.0];
    options.word_timestamps = true;
    let transcript = engine.transcribe(SPANISH, &options).unwrap();
    let json = serde_json::to_string_pretty(&transcript).unwrap();
    // The only number that is a matter of the machine.
    let is_time = |line: &&str| !line.contains("\"elapsed_s\"");
    json.lines().filter(is_time).collect::<Vec<_>>().join("\n")
}

/// Who emulates a processor says what it should have: a level that is not found is not tested.
#[test]
fn the_best_level_is_the_expected_one() {
    if let Ok(expected) = std::env::var("UNDERTONE_BEST_LEVEL") {
        assert_eq!(SimdLevel::best().name(), expected);
    }
}

#[test]
fn every_level_of_a_processor_writes_the_same_json() {
    for compute in COMPUTE {
        let best = json(SimdLevel::best(), compute);
        for level in SimdLevel::available() {
            let found = json(level, compute);
            let mut lines = found.lines().zip(best.lines());
            let differs = lines.find(|(found, best)| found != best);
            assert!(found == best, "{level}, {compute}: {differs:?}");
        }
    }
}

/// FNV-1a over the numbers' bits.
fn hash(numbers: &[f32]) -> u64 {
    let bytes = numbers.iter().flat_map(|x| x.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Hashes of the encoder's output and of the logits of some steps, which follow the highest.
fn numbers(level: SimdLevel, compute: ComputeType) -> String {
    let source = undertone::weights::open(PICO.as_ref()).unwrap();
    let cpu = Cpu::new(Some(2), Some(level));
    let registry = Registry::new(Executor::Cpu.backends(&cpu, compute));
    let plan = plan(&Request::default(), &registry, source.dims()).unwrap();
    let network = Executor::Cpu.load(source.as_ref(), compute, cpu, plan, None);
    let network: std::sync::Arc<dyn Network> = network.unwrap();
    let mel: Vec<f32> = (0..network.dims().n_mels * N_FRAMES)
        .map(|i| (i * 7919 % 2003) as f32 / 1024.0 - 0.9)
        .collect();
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let encoded = network.encoder_stages(&mel).unwrap().output;
    let mut text = format!("{compute}\nencoder {:016x}\n", hash(&encoded));
    let (mut state, mut tokens) = (network.text_state(1).unwrap(), vec![3, 1, 4, 1, 5]);
    for _ in 0..12 {
        let logits = last_logits(network.as_ref(), &audio[0], &mut state, &tokens);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let best = best.unwrap();
        writeln!(text, "logits {:016x}, highest {best}", hash(&logits)).unwrap();
        tokens = vec![u32::try_from(best).unwrap()];
    }
    text
}

/// Written on x86-64 with `UNDERTONE_UPDATE=1`; an Arm processor finds the same.
#[test]
fn every_processor_computes_the_same_numbers() {
    let all = |level| COMPUTE.map(|compute| numbers(level, compute)).concat();
    if std::env::var_os("UNDERTONE_UPDATE").is_some() {
        std::fs::write(STORED, all(SimdLevel::best())).unwrap();
    }
    let stored = std::fs::read_to_string(STORED).unwrap();
    // An emulator takes its time, and each level is the best of some processor.
    let levels = match std::env::var_os("UNDERTONE_BEST_LEVEL") {
        Some(_) => vec![SimdLevel::best()],
        None => SimdLevel::available(),
    };
    for level in levels {
        assert_eq!(all(level), stored, "{level}");
    }
}
