//! Beam search and greedy search over a small vocabulary against the plain version.

use super::feed::Decoder;
use super::plain::{PlainBeams, log_softmax, masked, random_row, small_vocabulary};
use crate::decoding::ranker::Candidate;
use crate::decoding::rows::Step;
use crate::decoding::task::DecodingTask;
use crate::error::Error;
use crate::options::DecodingOptions;

const SOT: [u32; 2] = [41, 43];

pub fn task(options: &DecodingOptions) -> DecodingTask {
    let made = DecodingTask::new(&small_vocabulary(), &SOT, options, 64);
    made.expect("the options are sound")
}

/// Steps a task to its end; also gives how many rows each step ran.
pub fn run(task: &mut DecodingTask, row: impl Fn(&[u32]) -> Vec<f32>) -> (Candidate, Vec<usize>) {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new()];
    let mut widths = Vec::new();
    let first = row(&[]);
    let mut step = task.start(&first, &first);
    while let Step::Continue(next) = step {
        let follow =
            |r: &crate::decoding::rows::NextRow| [rows[r.parent].as_slice(), &[r.token]].concat();
        rows = next.iter().map(follow).collect();
        widths.push(rows.len());
        let logits: Vec<f32> = rows.iter().flat_map(|sampled| row(sampled)).collect();
        step = task.step(&logits, 64);
    }
    (task.best(), widths)
}

#[test]
fn beams_equal_the_plain_version() {
    let vocabulary = small_vocabulary();
    let sizes = [1, 2, 3, 5];
    let patiences = [None, Some(0.5), Some(1.0), Some(1.5), Some(2.0)];
    for seed in 0..400_u64 {
        let options = DecodingOptions {
            beam_size: Some(sizes[seed as usize % 4]),
            patience: patiences[seed as usize % 5].filter(|p| *p != 0.5 || seed % 4 > 1),
            length_penalty: [None, Some(0.0), Some(0.6), Some(1.0)][seed as usize / 7 % 4],
            sample_len: Some([3, 8, 20][seed as usize % 3]),
            without_timestamps: seed.is_multiple_of(6),
            ..Default::default()
        };
        let row = |sampled: &[u32]| {
            let mut logits = random_row(seed, sampled, 5.0);
            logits[40] += 0.3 * sampled.len() as f32 + (seed % 7) as f32 * 0.4;
            logits
        };
        let steps = options.sample_len.unwrap_or(0);
        let plain = PlainBeams {
            vocabulary: &vocabulary,
            options: &options,
            row: &row,
            steps,
        };
        let penalty = |length: usize| match options.length_penalty {
            None => length as f64,
            Some(alpha) => ((5 + length) as f64 / 6.0).powf(alpha),
        };
        let mut best: Option<(f64, Vec<u32>, f64)> = None;
        for (tokens, sum) in plain.candidates() {
            let score = sum / penalty(tokens.len());
            if !tokens.is_empty() && best.as_ref().is_none_or(|best| score > best.0) {
                best = Some((score, tokens, sum));
            }
        }
        let (found, widths) = run(&mut task(&options), row);
        let (_, tokens, sum) = best.expect("some sequence has a token");
        assert_eq!(found.tokens, tokens, "seed {seed} {options:?}");
        assert!(
            (f64::from(found.sum_logprob) - sum).abs() < 1e-4,
            "seed {seed}"
        );
        assert!(
            widths.iter().all(|width| Some(*width) == options.beam_size),
            "seed {seed}"
        );
    }
}

#[test]
fn greedy_takes_the_best_token_each_time() {
    let vocabulary = small_vocabulary();
    let options = DecodingOptions {
        sample_len: Some(30),
        ..Default::default()
    };
    for seed in 0..100_u64 {
        let row = |sampled: &[u32]| random_row(seed, sampled, 6.0);
        let (mut tokens, mut sum) = (Vec::new(), 0.0);
        for _ in 0..30 {
            let logprobs = log_softmax(&masked(&vocabulary, &options, &row(&tokens), &tokens));
            let best = (0..64).fold(0, |a, b| if logprobs[b] > logprobs[a] { b } else { a });
            sum += logprobs[best];
            if best == 40 {
                break;
            }
            tokens.push(best as u32);
        }
        let (found, _) = run(&mut task(&options), row);
        assert_eq!(found.tokens, tokens, "seed {seed}");
        assert!(
            (f64::from(found.sum_logprob) - sum).abs() < 1e-4,
            "seed {seed}"
        );
    }
}

#[test]
fn the_lowest_of_equal_tokens_is_taken() {
    let options = DecodingOptions {
        without_timestamps: true,
        sample_len: Some(2),
        ..Default::default()
    };
    let (found, _) = run(&mut task(&options), |_| vec![1.0; 64]);
    assert_eq!(found.tokens, [0, 0]);
}

#[test]
fn windows_end_with_their_budget_or_the_context() {
    // Text for ever; 64 positions, of which half may be sampled.
    let row = |_: &[u32]| {
        let mut logits = vec![0.0; 64];
        logits[5] = 9.0;
        logits
    };
    let cases = [
        (None, 0, 32),
        (Some(0), 0, 32),
        (Some(5), 0, 5),
        (Some(60), 0, 60),
        (Some(64), 0, 63), // two tokens of start, 64 positions, one past them
        (None, 100, 31),   // 34 tokens of prompt: one too many again
    ];
    for (sample_len, prompt, expected) in cases {
        let prompt = vec![1; prompt];
        let options = DecodingOptions {
            sample_len,
            prompt,
            without_timestamps: true,
            ..Default::default()
        };
        let (found, widths) = run(&mut task(&options), row);
        assert_eq!(found.tokens.len(), expected, "{sample_len:?}");
        assert_eq!(widths.len() + 1, expected, "{sample_len:?}");
    }
}

#[test]
fn options_that_contradict_each_other_are_errors() {
    let base = DecodingOptions::default;
    let cases = [
        (
            "beam_size",
            DecodingOptions {
                beam_size: Some(2),
                best_of: Some(2),
                ..base()
            },
        ),
        (
            "best_of",
            DecodingOptions {
                best_of: Some(2),
                ..base()
            },
        ),
        (
            "patience",
            DecodingOptions {
                patience: Some(1.0),
                ..base()
            },
        ),
        (
            "patience",
            DecodingOptions {
                beam_size: Some(1),
                patience: Some(0.5),
                ..base()
            },
        ),
        (
            "patience",
            DecodingOptions {
                beam_size: Some(1),
                patience: Some(f64::NAN),
                ..base()
            },
        ),
        (
            "beam_size",
            DecodingOptions {
                beam_size: Some(0),
                ..base()
            },
        ),
        (
            "beam_size",
            DecodingOptions {
                beam_size: Some(64),
                ..base()
            },
        ),
        (
            "prefix",
            DecodingOptions {
                prefix: vec![1; 63],
                ..base()
            },
        ),
    ];
    for (name, options) in cases {
        match DecodingTask::new(&small_vocabulary(), &SOT, &options, 64) {
            Err(Error::Option { option, .. }) => assert_eq!(option, name, "{options:?}"),
            other => panic!("{options:?}: {:?}", other.map(|_| ())),
        }
    }
}
