//! Sampling as requests ask for it, through the whole engine: penalties, narrowed draws, seeds, limits.

use undertone::{DecodingOptions, Engine, Executor, Sampling, TranscribeOptions, Transcript};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");

fn engine(executor: Executor) -> Engine {
    let builder = Engine::builder().model(PICO).threads(2).slots(4);
    builder.executor(executor).build().unwrap()
}

/// One temperature, whatever comes of it, and text alone.
fn at(temperature: f64, sampling: Sampling) -> TranscribeOptions {
    let mut options = TranscribeOptions {
        decoding: DecodingOptions {
            language: Some("es".into()),
            without_timestamps: true,
            seed: 42,
            sampling,
            ..DecodingOptions::default()
        },
        ..TranscribeOptions::default()
    };
    options.gates.temperatures = vec![temperature];
    options
}

/// vLLM's test of its sampling parameters has these.
const VLLM: Sampling = Sampling {
    repetition_penalty: 1.9,
    top_k: 12,
    top_p: 0.4,
    min_p: 0.5,
    frequency_penalty: 1.8,
    presence_penalty: 2.0,
};

fn tokens(transcript: &Transcript) -> Vec<u32> {
    let segments = transcript.segments.iter();
    segments
        .flat_map(|segment| segment.tokens.clone())
        .collect()
}

#[test]
fn penalties_change_the_text_and_alike_on_every_executor() {
    let engines = [Executor::Cpu, Executor::Reference].map(engine);
    let plain = engines[0].transcribe(SPANISH, &at(0.0, Sampling::default()));
    let plain = tokens(&plain.unwrap());
    for temperature in [0.0, 0.8] {
        let [cpu, reference] = engines.each_ref().map(|engine| {
            let changed = engine.transcribe(SPANISH, &at(temperature, VLLM));
            tokens(&changed.unwrap())
        });
        assert_ne!(cpu, plain, "{temperature}");
        assert_eq!(cpu, reference, "{temperature}");
    }
}

#[test]
fn a_seed_decides_whatever_shares_the_batch() {
    let engine = engine(Executor::Cpu);
    let wide = Sampling {
        top_p: 0.95,
        ..Sampling::default()
    };
    let alone: Vec<_> = (0..8)
        .map(|seed| {
            let mut options = at(1.0, if seed % 2 == 0 { VLLM } else { wide });
            options.decoding.seed = seed;
            let text = tokens(&engine.transcribe(SPANISH, &options).unwrap());
            (options, text)
        })
        .collect();
    assert!(alone.iter().any(|(_, text)| *text != alone[0].1));
    std::thread::scope(|scope| {
        let started = alone.iter().map(|(options, text)| {
            let engine = &engine;
            (text, scope.spawn(|| engine.transcribe(SPANISH, options)))
        });
        for (text, thread) in started.collect::<Vec<_>>() {
            assert_eq!(tokens(&thread.join().unwrap().unwrap()), *text);
        }
    });
}

#[test]
fn one_token_is_one_token() {
    let engine = engine(Executor::Cpu);
    for (temperature, most) in [(0.0, 1), (0.8, 1), (0.0, 3)] {
        let mut options = at(temperature, Sampling::default());
        options.decoding.max_new_tokens = Some(most);
        let transcript = engine.transcribe(SPANISH, &options).unwrap();
        let counted = transcript.windows[0].attempts[0].tokens;
        assert_eq!(counted, most, "{temperature}");
    }
}
