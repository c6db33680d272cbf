//! What shares a batch never changes a window's result; and what becomes of windows when something
//! around them goes wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use undertone::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, Kv, Objection, Request,
};
use undertone::internals::attention::Naive;
use undertone::internals::batcher::{
    AlignWay, AlignWords, Batcher, Capacity, DecodingResult, Inbox, WatchedHeads, WindowJob, bias,
};
use undertone::internals::tokenizer::Tokenizer;
use undertone::{
    Cancel, ComputeType, DecodingOptions, Engine, EngineBuilder, Error, Gates, ModelDimensions,
    Phrase, Task,
};

#[cfg(feature = "hub")]
use crate::support;

const FRAMES: usize = 3000;

/// Noise from a linear congruential generator: the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).unwrap() % n
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Something between speech and noise, `(n_mels, 3000)`.
pub fn invented_mel(n_mels: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let pitch = 3 + noise.below(20);
    let value = |i: usize, noise: &mut Noise| {
        let (mel, frame) = (i / FRAMES, i % FRAMES);
        let hum = if (mel + frame / 40).is_multiple_of(pitch) {
            0.8
        } else {
            -0.6
        };
        hum + noise.below(1000) as f32 * 0.0004
    };
    (0..n_mels * FRAMES).map(|i| value(i, &mut noise)).collect()
}

pub fn pico() -> EngineBuilder {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
    Engine::builder()
        .model(model)
        .threads(2)
        .without_packed_copies()
}

/// Windows of every kind: task, language, temperature ladder, beams, samples, prompt.
pub fn jobs(dims: &ModelDimensions, mels: &[Vec<f32>], count: usize) -> Vec<WindowJob> {
    let last = (dims.n_text_layer - 1, dims.n_text_head - 1);
    let expected = ["the", "Ugo Foscolo"].map(Phrase::new);
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico/tokenizer.json");
    let tokenizer = Tokenizer::from_file(tokenizer.as_ref(), None).unwrap();
    let expected = bias(&tokenizer, &expected);
    let heads: WatchedHeads = [(0, 0), last].into();
    let languages = ["en", "de", "fr", "es"];
    let ladders: [&[f64]; 4] = [&[0.0], &[0.7], &[0.0, 0.4], &[0.0, 0.2, 1.0]];
    let job = |i: usize| {
        let mut options = DecodingOptions {
            task: if i % 3 == 1 {
                Task::Translate
            } else {
                Task::Transcribe
            },
            language: Some(languages[i % 4].into()),
            seed: i as u64,
            sample_len: Some(12 + i % 40),
            ..DecodingOptions::default()
        };
        match i % 5 {
            1 => options.beam_size = Some(5),
            2 => options.best_of = Some(3),
            3 => (options.beam_size, options.best_of) = (Some(2), Some(4)),
            _ => {}
        }
        if i % 4 == 2 {
            options.prompt = (0..(i * 7) % 60)
                .map(|t| 300 + u32::try_from(t).unwrap())
                .collect();
        }
        options.without_timestamps = i % 7 == 6;
        let temperatures = ladders[i / 2 % 4].to_vec();
        // Some windows fail whatever they say and go through all their temperatures.
        let logprob_threshold = if i.is_multiple_of(6) {
            Some(0.5)
        } else {
            Some(-1.0)
        };
        let gates = Gates {
            temperatures,
            logprob_threshold,
            no_speech_threshold: None,
            ..Gates::default()
        };
        let mel = mels.get(i % mels.len().max(1)).cloned();
        let mel = mel.unwrap_or_else(|| invented_mel(dims.n_mels, i as u64));
        WindowJob {
            mel,
            options,
            gates,
            source: (i % 5) as u64,
            cancel: Cancel::default(),
            align: (i % 3 < 2).then(|| AlignWords {
                heads: heads.clone(),
                positions: 100 + 10 * i,
                way: AlignWay::Again,
            }),
            bias: expected.clone().filter(|_| i % 4 == 1),
        }
    };
    (0..count).map(job).collect()
}

/// Everything of a result, to the bit.
pub fn bits(result: &DecodingResult) -> (Vec<u32>, [u64; 3], String, Vec<u32>) {
    let numbers = [
        result.avg_logprob,
        result.no_speech_prob,
        result.temperature,
    ];
    let aligned = result.alignment.iter();
    let aligned = aligned.flat_map(|found| {
        let starts = found.starts.iter().map(|start| *start as u32);
        let likely = found.probabilities.iter().map(|p| p.to_bits());
        starts.chain(likely)
    });
    (
        result.tokens.clone(),
        numbers.map(f64::to_bits),
        result.text.clone(),
        aligned.collect(),
    )
}

pub fn batcher(engine: &Engine, windows: usize) -> Batcher {
    engine.batcher(Capacity::of_windows(windows)).unwrap()
}

/// The results of all jobs in the order of the jobs, submitted in `order`.
pub fn run(batcher: &Batcher, jobs: &[WindowJob], order: &[usize]) -> Vec<DecodingResult> {
    let inbox = Inbox::default();
    let mut results: Vec<Option<DecodingResult>> = vec![None; jobs.len()];
    for &i in order {
        batcher.submit(jobs[i].clone(), i, &inbox).unwrap();
    }
    for _ in 0..jobs.len() {
        let (i, result) = inbox.next().unwrap();
        results[i] = Some(result);
    }
    results.into_iter().map(Option::unwrap).collect()
}

/// Windows that are decoded alone and in batches.
const WINDOWS: usize = 40;

fn batches_do_not_matter(engine: &Engine, mels: &[Vec<f32>]) {
    let jobs = jobs(engine.network().dims(), mels, WINDOWS);
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    let alone = run(&batcher(engine, 1), &jobs, &order);
    let tokens: usize = alone.iter().map(|result| result.tokens.len()).sum();
    assert!(
        tokens > 5 * WINDOWS,
        "the windows say next to nothing: {tokens} tokens"
    );
    assert!(
        alone.iter().any(|result| result.temperature > 0.0),
        "no window fell back"
    );
    let mut noise = Noise(17);
    let mut differing = Vec::new();
    for windows in [3, 8, 16] {
        noise.shuffle(&mut order);
        let together = run(&batcher(engine, windows), &jobs, &order);
        for (i, (a, b)) in alone.iter().zip(&together).enumerate() {
            if bits(a) != bits(b) {
                differing.push(format!(
                    "window {i} in batches of {windows}:\n  {a:?}\n  {b:?}"
                ));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// Windows of the recordings that are at hand; none without them.
#[cfg(feature = "hub")]
fn real_mels(n_mels: usize) -> Vec<Vec<f32>> {
    let Some(folder) = support::reference() else {
        return Vec::new();
    };
    let recordings = support::recordings(&folder)
        .into_iter()
        .filter(|r| r.seconds > 5.0)
        .take(10);
    let mel = |recording: support::Recording| {
        let path = folder.join("audio").join(recording.file);
        let mut stream =
            undertone::internals::audio::open(undertone::Input::from(&*path), &Default::default())
                .unwrap();
        let mel = undertone::internals::mel::from_blocks(
            n_mels,
            |block| stream.read_block(block),
            |_| {},
        );
        mel.unwrap().window(0).unwrap()
    };
    recordings.map(mel).collect()
}

#[test]
fn pico_decodes_each_window_the_same_in_any_batch() {
    for compute in [ComputeType::F32, ComputeType::Int8, ComputeType::Int4] {
        let engine = pico().compute_type(compute).build().unwrap();
        batches_do_not_matter(&engine, &[]);
    }
}

#[test]
fn windows_of_one_queue_are_decoded_the_same_by_several_networks() {
    let engines = [(); 2].map(|()| pico().build().unwrap());
    let networks = engines.each_ref().map(|engine| engine.network().clone());
    let jobs = jobs(networks[0].dims(), &[], WINDOWS);
    let order: Vec<usize> = (0..jobs.len()).collect();
    let alone = run(&batcher(&engines[0], 1), &jobs, &order);
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico/tokenizer.json");
    let tokenizer = Arc::new(Tokenizer::from_file(tokenizer.as_ref(), None).unwrap());
    let capacity = Capacity::of_windows(3);
    let both = Batcher::new(&networks, None, tokenizer, capacity).unwrap();
    let shared = run(&both, &jobs, &order);
    for (i, (a, b)) in alone.iter().zip(&shared).enumerate() {
        assert_eq!(bits(a), bits(b), "window {i}");
    }
}

#[cfg(feature = "hub")]
#[test]
fn real_weights_decode_each_window_the_same_in_any_batch() {
    for compute in [ComputeType::F32, ComputeType::Int8] {
        let Some(engine) = support::engine("base", compute) else {
            return;
        };
        let mels = real_mels(engine.network().dims().n_mels);
        batches_do_not_matter(engine, &mels);
    }
}

static PICO: LazyLock<Engine> = LazyLock::new(|| pico().build().unwrap());

fn pico_job(i: usize) -> WindowJob {
    jobs(PICO.network().dims(), &[], i + 1).pop().unwrap()
}

#[test]
fn cancelled_windows_leave_and_the_others_stay() {
    let batcher = batcher(&PICO, 4);
    let due = batcher.decode(pico_job(0)).unwrap();
    let (cancelled, kept) = (Inbox::default(), Inbox::default());
    let stop = Cancel::default();
    for tag in 0..2 {
        let job = WindowJob {
            cancel: stop.clone(),
            ..pico_job(4)
        };
        batcher.submit(job, tag, &cancelled).unwrap();
    }
    batcher.submit(pico_job(0), 7, &kept).unwrap();
    stop.cancel();
    let (tag, result) = kept.next().unwrap();
    assert_eq!((tag, bits(&result)), (7, bits(&due)));
    // One may have been done before it was asked to stop.
    let answers = [cancelled.next(), cancelled.next()];
    let stopped = answers
        .iter()
        .filter(|a| matches!(a, Err(Error::Cancelled)))
        .count();
    assert!(stopped >= 1, "{answers:?}");
}

#[test]
fn a_dropped_inbox_frees_its_slots() {
    let batcher = batcher(&PICO, 2);
    for round in 0..8 {
        let inbox = Inbox::default();
        batcher.submit(pico_job(round), 0, &inbox).unwrap();
    }
    assert!(batcher.decode(pico_job(1)).is_ok());
}

#[test]
fn a_window_with_more_beams_than_there_are_rows_is_decoded_alone() {
    let narrow = PICO
        .batcher(Capacity {
            windows: 4,
            rows: 2,
        })
        .unwrap();
    let jobs: Vec<_> = (0..10).map(pico_job).collect();
    let order: Vec<_> = (0..10).collect();
    let due: Vec<_> = run(&batcher(&PICO, 1), &jobs, &order)
        .iter()
        .map(bits)
        .collect();
    let made: Vec<_> = run(&narrow, &jobs, &order).iter().map(bits).collect();
    assert_eq!(made, due);
}

#[test]
fn a_window_whose_options_make_no_sense_is_an_error_of_its_own() {
    let batcher = batcher(&PICO, 2);
    let mut job = pico_job(0);
    job.options.patience = Some(1.0);
    assert!(matches!(batcher.decode(job), Err(Error::Option { .. })));
    assert!(batcher.decode(pico_job(0)).is_ok());
}

/// The plain backend, which panics or fails once, at a certain call.
struct Faulty {
    plain: Naive,
    calls: AtomicUsize,
    at: usize,
    panics: bool,
}

impl AttentionBackend for Faulty {
    fn name(&self) -> &str {
        "FAULTY"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        self.plain.objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> undertone::Result<Attended> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            assert!(!self.panics, "on purpose");
            return Err(Error::Attention("on purpose".into()));
        }
        self.plain.attend(call)
    }
}

#[test]
fn a_backend_that_fails_or_panics_fails_its_windows_and_no_others() {
    // A window of pico calls a backend twice in the encoder, then four times a step.
    for (at, panics) in [(1, true), (4, true), (9, true), (1, false), (9, false)] {
        let faulty = Faulty {
            plain: Naive::new(),
            calls: AtomicUsize::new(0),
            at,
            panics,
        };
        let request = Request {
            backend: Some("FAULTY".into()),
            ..Request::default()
        };
        let faulty = pico()
            .backend(Arc::new(faulty))
            .attention(request)
            .build()
            .unwrap();
        let batcher = batcher(&faulty, 2);
        let failed = batcher.decode(pico_job(0));
        assert!(
            matches!(failed, Err(Error::Engine(_) | Error::Attention(_))),
            "{at}: {failed:?}"
        );
        let due = bits(&batcher.decode(pico_job(0)).unwrap());
        assert_eq!(
            bits(&batcher.decode(pico_job(0)).unwrap()),
            due,
            "{at} {panics}"
        );
    }
}

/// The plain backend, which fails whenever a prompt of this many tokens takes part.
struct Picky(Naive, usize);

impl AttentionBackend for Picky {
    fn name(&self) -> &str {
        "PICKY"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        self.0.objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> undertone::Result<Attended> {
        match &call.kv {
            Kv::Growing(rows) if rows.iter().any(|row| row.queries == self.1) => {
                Err(Error::Attention("such a prompt".into()))
            }
            _ => self.0.attend(call),
        }
    }
}

#[test]
fn one_bad_window_does_not_end_its_neighbours() {
    let prompt = vec![5; 4];
    let picky = pico()
        .backend(Arc::new(Picky(Naive::new(), prompt.len() + 4)))
        .attention(Request {
            backend: Some("PICKY".into()),
            ..Request::default()
        })
        .build()
        .unwrap();
    let batcher = batcher(&picky, 8);
    // Windows 0, 4 and 8 have no prompt of their own.
    let due: Vec<_> = [0, 4, 8]
        .map(|i| bits(&batcher.decode(pico_job(i)).unwrap()))
        .into();
    let inbox = Inbox::default();
    for (tag, i) in [0, 4, 8].into_iter().enumerate() {
        batcher.submit(pico_job(i), tag, &inbox).unwrap();
    }
    let failing = Inbox::default();
    let mut bad = pico_job(0);
    bad.options.prompt = prompt;
    batcher.submit(bad, 9, &failing).unwrap();
    for _ in 0..3 {
        let (tag, result) = inbox.next().unwrap();
        assert_eq!(bits(&result), due[tag], "window {tag}");
    }
    assert!(matches!(failing.next(), Err(Error::Attention(_))));
}
