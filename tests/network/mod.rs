//! What every executor behind `Network` keeps, whoever computes: held over each of `executors`, on the
//! repository's small network with its width shared out among four heads.

mod cross_weights;
mod executors;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use undertone::Error;
use undertone::attention::{Attended, AttentionBackend, AttentionCall, AttentionQuery, Objection};
use undertone::internals::attention::Naive;
use undertone::internals::model::{self, AudioState, Pending, StepWindow, TextMemory, TextState};
use undertone::internals::ranking::{self, AllowedRuns, Answer, Constraint, Query, Wanted};

use crate::support::{largest_error, last_logits};
use executors::{LAYERS, PROMPT, encoded, executors, fed, mel, window};

#[test]
fn an_answer_does_not_depend_on_its_neighbours() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let network = &*executor.network();
        let n_vocab = network.dims().n_vocab;
        let allowed = AllowedRuns::new(n_vocab, &[]);
        let audio = [1, 2, 3].map(|pitch| encoded(network, pitch));
        // Prompts of several lengths, then two steps of some beams each.
        let prompts: [&[u32]; 3] = [&PROMPT, &PROMPT[..1], &[5; 40]];
        let steps: [&[u32]; 3] = [&[3, 4], &[9], &[10, 11, 12]];
        let feeds = |i: usize| {
            [
                (prompts[i], 1),
                (steps[i], steps[i].len()),
                (steps[i], steps[i].len()),
            ]
        };
        let fresh = |i: usize| network.text_state(steps[i].len()).unwrap();
        let mut alone = Vec::new();
        for (i, audio) in audio.iter().enumerate() {
            let mut text = fresh(i);
            let run = |(tokens, rows)| fed(network, audio, &mut text, tokens, rows).unwrap();
            alone.push(feeds(i).map(run));
        }
        let mut texts = [0, 1, 2].map(fresh);
        for step in 0..3 {
            let mut windows = Vec::new();
            // Another order than that in which they were alone.
            for (i, text) in texts.iter_mut().enumerate().rev() {
                let (tokens, rows) = feeds(i)[step];
                windows.push(window(&audio[i], text, tokens, rows, &allowed, n_vocab));
            }
            let answers = model::step(network, &mut windows).unwrap();
            let mut together = answers.into_iter().map(Answer::into_logits);
            for (i, want) in alone.iter().enumerate().rev() {
                for (row, want) in want[step].iter().enumerate() {
                    let got = together.next().unwrap();
                    let error = largest_error(&got, want);
                    let name = executor.name;
                    assert!(
                        error <= executor.alone,
                        "{name}: window {i}, step {step}, row {row}: {error}"
                    );
                }
            }
        }
    }
}

/// The plain backend, which fails at a certain call from when it is armed.
struct Failing {
    plain: Naive,
    /// Calls until the failing one; none where it is disarmed.
    left: Mutex<Option<usize>>,
}

impl AttentionBackend for Failing {
    fn name(&self) -> &str {
        "FAILING"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        self.plain.objections(query)
    }

    fn attend(&self, call: &AttentionCall<'_>) -> undertone::Result<Attended> {
        let mut left = self.left.lock().unwrap();
        match left.take() {
            Some(0) => Err(Error::Attention("on purpose".into())),
            some => {
                *left = some.map(|left| left - 1);
                drop(left);
                self.plain.attend(call)
            }
        }
    }
}

#[test]
fn a_failed_step_leaves_the_texts_as_they_were() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let failing = Arc::new(Failing {
            plain: Naive::new(),
            left: Mutex::new(None),
        });
        let network = &*executor.network_with(failing.clone());
        let audio = encoded(network, 1);
        let run = |failures: bool| {
            let mut text = network.text_state(3).unwrap();
            let mut heard = Vec::new();
            let feeds: [(&[u32], usize); 3] = [(&PROMPT, 1), (&[8, 9, 10], 3), (&[11, 12, 13], 3)];
            for (tokens, rows) in feeds {
                let before = text.len();
                // In the first layer, in the last one, and where the queries are kept but not used.
                for at in [0, 1, 2 * LAYERS - 1].into_iter().filter(|_| failures) {
                    *failing.left.lock().unwrap() = Some(at);
                    let failed = fed(network, &audio, &mut text, tokens, rows);
                    assert!(failed.is_err(), "{}: call {at} fails", executor.name);
                    assert_eq!(text.len(), before, "{}", executor.name);
                }
                heard.push(fed(network, &audio, &mut text, tokens, rows).unwrap());
                text.reorder(&[1, 1, 0]);
            }
            heard
        };
        assert!(
            run(true) == run(false),
            "{}: other logits behind a failure",
            executor.name
        );
    }
}

/// What some other executor might keep.
struct Foreign;

impl TextMemory for Foreign {
    fn len(&self) -> usize {
        0
    }

    fn reset(&mut self, _beams: usize) {}

    fn reorder(&mut self, _parents: &[usize]) {}

    fn truncate(&mut self, _len: usize) {}

    fn watch(&mut self, _heads: &[(usize, usize)]) {}
}

#[test]
fn states_of_another_executor_are_an_error() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        let mel = mel(network.dims().n_mels, 1);
        let refused = |result: Result<(), Error>, what: &str| {
            assert!(
                matches!(result, Err(Error::Engine(_))),
                "{name}: {what}: {result:?}"
            );
        };
        let encode = network.encode(&[&mel], &mut [AudioState::new(Foreign)]);
        refused(encode, "a foreign audio to encode into");
        let (audio, mut text) = (encoded(network, 1), network.text_state(1).unwrap());
        let (foreign_audio, mut foreign_text) = (AudioState::new(Foreign), TextState::new(Foreign));
        let step = fed(network, &foreign_audio, &mut text, &PROMPT, 1);
        refused(step.map(drop), "a foreign audio");
        let step = fed(network, &audio, &mut foreign_text, &PROMPT, 1);
        refused(step.map(drop), "a foreign text");
        let weights = network.cross_weights(&foreign_audio, &text, 0, Vec::new());
        refused(weights.map(drop), "weights on a foreign audio");
        let weights = network.cross_weights(&audio, &foreign_text, 0, Vec::new());
        refused(weights.map(drop), "weights of a foreign text");
        let collected = network.collect(Pending::new(Foreign), &mut Vec::new());
        refused(collected, "a foreign step");
        assert!(text.is_empty(), "{name}");
        assert!(
            fed(network, &audio, &mut text, &PROMPT, 1).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn a_step_that_makes_no_sense_is_an_error() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        let n_vocab = network.dims().n_vocab;
        let audio = encoded(network, 1);
        // Tokens, rows, and which row and token are asked about.
        let cases: [(&[u32], usize, usize, usize); 6] = [
            (&PROMPT, 1, 1, 4),
            (&PROMPT, 1, 0, 5),
            (&[1, 2, 3, 4], 2, 2, 0),
            (&[1, 2, 3, 4], 2, 1, 2),
            (&[1, 2, 3], 2, 0, 0),
            (&[], 0, 0, 0),
        ];
        for (tokens, rows, row, at) in cases {
            let allowed = AllowedRuns::new(n_vocab, &[]);
            let (mut good, mut bad) = (
                network.text_state(2).unwrap(),
                network.text_state(2).unwrap(),
            );
            let constraint = Constraint::plain(&allowed, n_vocab);
            let (want, queries) = (Wanted::Best, Vec::new());
            let mut windows = [
                window(&audio, &mut good, &PROMPT, 1, &allowed, n_vocab),
                StepWindow {
                    audio: &audio,
                    text: &mut bad,
                    tokens,
                    rows,
                    queries,
                },
            ];
            windows[1].queries.push(Query {
                row,
                at,
                constraint,
                want,
            });
            let step = model::step(network, &mut windows).map(drop);
            let what = format!("{} tokens, {rows} rows, row {row} at {at}", tokens.len());
            assert!(
                matches!(step, Err(Error::Engine(_))),
                "{name}: {what}: {step:?}"
            );
            assert!(good.is_empty() && bad.is_empty(), "{name}: {what}");
        }
    }
}

#[test]
fn a_step_without_room_is_an_error() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        let context = network.dims().n_text_ctx;
        let beyond = u32::try_from(network.dims().n_vocab).unwrap();
        let long = vec![5; context + 1];
        let audio = encoded(network, 1);
        let mut text = network.text_state(2).unwrap();
        let mut fed = |tokens: &[u32], rows| {
            let fed = fed(network, &audio, &mut text, tokens, rows);
            fed.map(|_| text.len())
        };
        assert!(fed(&[beyond], 1).is_err(), "{name}: no such token");
        assert!(fed(&long, 1).is_err(), "{name}: longer than the context");
        assert_eq!(fed(&long[..context - 1], 1).unwrap(), context - 1, "{name}");
        assert!(fed(&[1, 2, 3], 3).is_err(), "{name}: more rows than beams");
        assert!(fed(&[1, 2, 3, 4], 2).is_err(), "{name}: one token too many");
        assert_eq!(fed(&[1, 2], 2).unwrap(), context, "{name}");
        assert!(fed(&[1, 2], 2).is_err(), "{name}: the text is full");
    }
}

/// Text alone, both kinds where the likelier one is due, timestamps alone, and text on both sides of them.
fn constraints(allowed: &AllowedRuns, n_vocab: usize) -> [Constraint<'_>; 4] {
    let plain = Constraint::plain(allowed, n_vocab);
    let of = |text, timestamps, added, forced| Constraint {
        text,
        timestamps,
        added,
        forced,
        ..plain.clone()
    };
    [
        plain.clone(),
        of(0..600, 600..n_vocab, n_vocab..n_vocab, true),
        of(0..0, 700..1800, n_vocab..n_vocab, false),
        of(0..600, 700..1800, 1800..n_vocab, false),
    ]
}

#[test]
fn answers_are_what_ranking_makes_of_the_logits() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        let n_vocab = network.dims().n_vocab;
        let audio = encoded(network, 2);
        let tables = [
            AllowedRuns::new(n_vocab, &[0, 7, 8, 500]),
            AllowedRuns::only([3, 90, 1700]),
            AllowedRuns::only([]),
        ];
        let wants = [
            Wanted::Logits,
            Wanted::Best,
            Wanted::BestK(7),
            Wanted::Draw {
                temperature: 0.8,
                uniform: 0.63,
            },
            Wanted::Probabilities(&[1, 90, 2119]),
        ];
        let mut queries = Vec::new();
        for allowed in &tables {
            for constraint in &constraints(allowed, n_vocab) {
                for (row, want) in (0..2).flat_map(|row| wants.map(|want| (row, want))) {
                    let constraint = constraint.clone();
                    let at = row;
                    queries.push(Query {
                        row,
                        at,
                        constraint,
                        want,
                    });
                }
            }
        }
        let mut text = network.text_state(2).unwrap();
        fed(network, &audio, &mut text, &PROMPT, 1).unwrap();
        let step = StepWindow {
            audio: &audio,
            text: &mut text,
            tokens: &[5, 6, 7, 8],
            rows: 2,
            queries: queries.clone(),
        };
        let answers = model::step(network, &mut [step]).unwrap();
        assert_eq!(answers.len(), queries.len(), "{name}");
        let mut logits = Vec::new();
        for (query, answer) in queries.iter().zip(answers) {
            if query.want == Wanted::Logits {
                logits = answer.into_logits();
                assert_eq!(logits.len(), n_vocab, "{name}");
                continue;
            }
            assert_eq!(answer, ranking::answer(&logits, query), "{name}: {query:?}");
        }
    }
}

#[test]
fn a_state_that_is_used_again_is_as_good_as_new() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        let mut audio = [encoded(network, 1)];
        let mut text = network.text_state(3).unwrap();
        text.watch(&[(1, 2)]);
        fed(network, &audio[0], &mut text, &PROMPT, 1).unwrap();
        fed(network, &audio[0], &mut text, &[1, 2, 3], 3).unwrap();
        network
            .encode(&[&mel(network.dims().n_mels, 2)], &mut audio)
            .unwrap();
        text.reset(2);
        assert!(text.is_empty(), "{name}");
        let run = |audio: &AudioState, text: &mut TextState| {
            let prompt = fed(network, audio, text, &PROMPT[..2], 1).unwrap();
            [prompt, fed(network, audio, text, &[6, 7], 2).unwrap()]
        };
        let again = run(&audio[0], &mut text);
        let new = run(&encoded(network, 2), &mut network.text_state(2).unwrap());
        assert!(again == new, "{name}");
        let weights = network
            .cross_weights(&audio[0], &text, 0, Vec::new())
            .unwrap();
        assert!(
            weights.heads.is_empty(),
            "{name}: nothing is watched any more"
        );
    }
}

#[test]
fn lanes_run_all_of_them_and_may_call_the_network() {
    let (_folder, executors) = executors();
    for executor in &executors {
        let (network, name) = (&*executor.network(), executor.name);
        assert!(
            network.feeding().lanes >= 1 && network.feeding().windows_an_encode >= 1,
            "{name}"
        );
        let audio = encoded(network, 1);
        let due = last_logits(
            network,
            &audio,
            &mut network.text_state(1).unwrap(),
            &PROMPT,
        );
        let done = AtomicUsize::new(0);
        network.run_lanes(3, &|lane| {
            let mut text = network.text_state(1).unwrap();
            assert!(
                last_logits(network, &audio, &mut text, &PROMPT) == due,
                "{name}"
            );
            done.fetch_add(1 << (8 * lane), Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 0x01_01_01, "{name}");
    }
}
