//! Drawing tokens: the right frequencies, and nothing but the seed, the row and the step decides.

use super::plain::{log_softmax, masked, random_row, small_vocabulary};
use super::search::{run, task};
use crate::decoding::rules::LogitRules;
use crate::decoding::sampling::{Draws, mix};
use crate::options::DecodingOptions;
use crate::ranking::Distribution;

#[test]
fn the_generator_is_splitmix64() {
    // The first outputs from state 0, as published.
    let outputs = [
        0xe220_a839_7b1d_cdaf,
        0x6e78_9e6a_a1b9_65f4,
        0x06c4_5d18_8009_454f,
    ];
    for (i, output) in outputs.into_iter().enumerate() {
        assert_eq!(mix((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)), output);
    }
}

#[test]
fn frequencies_follow_the_tempered_softmax() {
    let vocabulary = small_vocabulary();
    let options = DecodingOptions::default();
    let rules = LogitRules::new(&vocabulary, &options).expect("the options are sound");
    let logits = random_row(5, &[50], 4.0);
    for temperature in [0.2, 0.7, 1.0] {
        let tempered: Vec<f32> = masked(&vocabulary, &options, &logits, &[50])
            .iter()
            .map(|x| x / temperature)
            .collect();
        let distribution = Distribution::new(&logits, &rules.constraint(&[50]));
        let draws = Draws::new(3, f64::from(temperature));
        let n = 40_000;
        let mut counts = [0.0; 64];
        for i in 0..n {
            let token = distribution.draw(f64::from(temperature), draws.uniform(i % 7, i / 7));
            counts[token.expect("there are candidates") as usize] += 1.0;
        }
        for (token, logprob) in log_softmax(&tempered).into_iter().enumerate() {
            let p = logprob.exp();
            let (mean, deviation) = (p * n as f64, (p * (1.0 - p) * n as f64).sqrt());
            let off = f64::abs(counts[token] - mean);
            assert!(
                off <= 4.5 * deviation + 1e-9,
                "{temperature} {token}: {off} {deviation}"
            );
        }
    }
}

#[test]
fn the_ends_of_the_unit_interval_give_tokens() {
    let options = DecodingOptions::default();
    let rules = LogitRules::new(&small_vocabulary(), &options).expect("the options are sound");
    let logits = random_row(5, &[50], 4.0);
    let distribution = Distribution::new(&logits, &rules.constraint(&[50]));
    assert_eq!(distribution.draw(1.0, 0.0), Some(0));
    assert_eq!(distribution.draw(1.0, 0.999_999_9), Some(42));
    assert!(distribution.draw(1.0, 1.0).is_some());
    // So cold that only the best has any weight.
    assert_eq!(distribution.draw(1e-9, 0.999), distribution.argmax());
}

fn sampled(best_of: Option<usize>, temperature: f64, seed: u64) -> (Vec<u32>, Vec<usize>) {
    let options = DecodingOptions {
        best_of,
        temperature,
        seed,
        sample_len: Some(25),
        ..Default::default()
    };
    let row = |tokens: &[u32]| {
        let mut logits = random_row(9, tokens, 4.0);
        logits[40] += 1.5;
        logits
    };
    let (best, widths) = run(&mut task(&options), row);
    (best.tokens, widths)
}

#[test]
fn the_seed_decides_and_nothing_else() {
    assert_eq!(sampled(Some(4), 0.8, 1), sampled(Some(4), 0.8, 1));
    assert_ne!(sampled(None, 0.8, 1).0, sampled(None, 0.8, 2).0);
    assert_ne!(sampled(None, 0.8, 1).0, sampled(None, 0.9, 1).0);
}

#[test]
fn ended_rows_leave_and_the_others_go_on_as_before() {
    let mut shrunk = 0;
    for seed in 0..60 {
        let temperature = 0.9;
        let (best, widths) = sampled(Some(5), temperature, seed);
        assert!(widths.is_sorted_by(|a, b| a >= b), "{widths:?}");
        shrunk += usize::from(widths.iter().any(|width| *width < 5));
        // Row by row with the same draws gives the same winner.
        let row = |tokens: &[u32]| {
            let mut logits = random_row(9, tokens, 4.0);
            logits[40] += 1.5;
            logits
        };
        let winner = (0..5).map(|index| alone(index, seed, temperature, &row));
        let score = |(tokens, sum): &(Vec<u32>, f64)| sum / tokens.len() as f64;
        let winner = winner.reduce(|a, b| if score(&b) > score(&a) { b } else { a });
        assert_eq!(winner.map(|(tokens, _)| tokens), Some(best), "seed {seed}");
    }
    assert!(shrunk > 20, "{shrunk}");
}

/// One row of a group by itself: its tokens and their summed log-probability.
fn alone(
    index: usize,
    seed: u64,
    temperature: f64,
    row: &dyn Fn(&[u32]) -> Vec<f32>,
) -> (Vec<u32>, f64) {
    let options = DecodingOptions::default();
    let rules = LogitRules::new(&small_vocabulary(), &options).expect("the options are sound");
    let draws = Draws::new(seed, temperature);
    let (mut tokens, mut sum) = (Vec::new(), 0.0);
    for step in 0..25 {
        let logits = row(&tokens);
        let distribution = Distribution::new(&logits, &rules.constraint(&tokens));
        let drawn = distribution.draw(temperature, draws.uniform(index, step));
        let token = drawn.expect("there are candidates");
        sum += f64::from(distribution.logprob(token));
        if token == 40 {
            break;
        }
        tokens.push(token);
    }
    (tokens, sum)
}
