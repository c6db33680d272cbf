//! Speculative decoding changes nothing but the number of steps; and texts that are cut are as if never longer.

use undertone::internals::batcher::{DecodingResult, WindowJob};
use undertone::internals::model::{Network, StepWindow, step};
use undertone::internals::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use undertone::{ComputeType, Engine, Executor};

use crate::batching::{batcher, bits, invented_mel, jobs, pico, run};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");

/// Windows that go on greedily at first; some have penalties, phrases, words, a ladder of temperatures.
fn greedy_jobs(engine: &Engine, count: usize) -> Vec<WindowJob> {
    let mut jobs = jobs(engine.network().dims(), &[], count);
    for (i, job) in jobs.iter_mut().enumerate() {
        job.options.beam_size = None;
        if !i.is_multiple_of(7) {
            job.gates.temperatures[0] = 0.0;
        }
        if i.is_multiple_of(5) {
            job.options.sampling.repetition_penalty = 1.3;
        }
        if i % 9 == 8 {
            // Up to the context's last position.
            job.options.sample_len = Some(448);
            job.options.suppress_tokens =
                undertone::SuppressTokens::NonSpeechAnd(vec![engine.tokenizer().eot()]);
        }
    }
    jobs
}

fn results(engine: &Engine, windows: usize, count: usize) -> Vec<DecodingResult> {
    let jobs = greedy_jobs(engine, count);
    let order: Vec<usize> = (0..count).collect();
    run(&batcher(engine, windows), &jobs, &order)
}

#[test]
fn a_draft_changes_no_bit_of_any_result() {
    let cases = [
        (Executor::Cpu, ComputeType::F32, 28),
        (Executor::Cpu, ComputeType::Int8, 28),
        (Executor::Reference, ComputeType::F32, 6),
    ];
    for (executor, compute, count) in cases {
        let builder = pico().executor(executor).compute_type(compute);
        let without = results(&builder.clone().build().unwrap(), 4, count);
        let drafting = builder.draft(PICO).build().unwrap();
        for windows in [1, 6] {
            let with = results(&drafting, windows, count);
            let (mut proposed, mut accepted) = (0, 0);
            for (i, (a, b)) in without.iter().zip(&with).enumerate() {
                assert_eq!(a.tokens, b.tokens, "{executor:?} {compute} {i}");
                if executor == Executor::Cpu {
                    assert_eq!(bits(a), bits(b), "{compute} {i}");
                }
                let drafted = b.failed.first().map_or(b.drafted, |first| first.drafted);
                proposed += drafted.map_or(0, |drafted| drafted.proposed);
                accepted += drafted.map_or(0, |drafted| drafted.accepted);
            }
            assert!(
                accepted > 0 && accepted <= proposed,
                "{accepted} of {proposed}"
            );
        }
    }
}

/// Feeds tokens to a text of one row; gives the logits behind the last.
fn logits(network: &dyn Network, parts: &[&[u32]], cut: Option<usize>) -> Vec<f32> {
    let mel = invented_mel(network.dims().n_mels, 3);
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let mut text = network.text_state(1).unwrap();
    let allowed = AllowedRuns::new(network.dims().n_vocab, &[]);
    let mut last = Vec::new();
    for (i, tokens) in parts.iter().enumerate() {
        if let Some(len) = cut.filter(|_| i + 1 == parts.len()) {
            text.truncate(len);
            assert!(text.len() <= len);
        }
        let query = Query {
            row: 0,
            at: tokens.len() - 1,
            constraint: Constraint::plain(&allowed, network.dims().n_vocab),
            want: Wanted::Logits,
        };
        let window = StepWindow {
            audio: &audio[0],
            text: &mut text,
            tokens,
            rows: 1,
            queries: vec![query],
        };
        let mut answers = step(network, &mut [window]).unwrap();
        last = answers.pop().map(Answer::into_logits).unwrap();
    }
    last
}

#[test]
fn a_text_that_was_cut_goes_on_as_if_it_had_never_been_longer() {
    // Only the CPU promises that several tokens at once give the bits of one by one.
    for (executor, tolerance) in [(Executor::Cpu, 0.0), (Executor::Reference, 1e-4)] {
        let engine = pico().executor(executor).build().unwrap();
        let network = &**engine.network();
        let short = logits(network, &[&[1, 2, 3], &[4], &[7]], None);
        let other = logits(network, &[&[1, 2, 3], &[4, 5], &[7]], None);
        let off = |a: &[f32], b: &[f32]| {
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            off.fold(0.0, f32::max)
        };
        assert!(off(&short, &other) > 10.0 * tolerance, "{executor:?}");
        let cases: [(&[&[u32]], usize); 3] = [
            (&[&[1, 2, 3], &[4, 5, 6], &[7]], 4),
            (&[&[1, 2, 3], &[4], &[5], &[7]], 4),
            (&[&[1, 2, 3], &[4], &[7]], 9),
        ];
        for (parts, len) in cases {
            let found = off(&logits(network, parts, Some(len)), &short);
            assert!(found <= tolerance, "{executor:?} {len}: {found}");
        }
    }
}

#[test]
fn what_cannot_write_ahead_is_refused() {
    let missing = pico()
        .draft("/nowhere/at/all")
        .build()
        .unwrap_err()
        .to_string();
    assert!(missing.contains("/nowhere/at/all"), "{missing}");
    #[cfg(feature = "hub")]
    if crate::support::engine("base", ComputeType::F32).is_some() {
        let error = pico().draft("base").build().unwrap_err();
        assert!(
            matches!(
                error,
                undertone::Error::Option {
                    option: "draft",
                    ..
                }
            ),
            "{error}"
        );
        let told = error.to_string();
        assert!(
            told.contains("51865 tokens in its vocabulary, where 2120"),
            "{told}"
        );
    }
}
