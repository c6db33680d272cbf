//! Phrases that are expected: what is chosen, and by which numbers it is judged.

use std::sync::Arc;

use super::plain::{log_softmax, masked, random_row, small_vocabulary};
use super::search::{run, task};
use crate::decoding::phrases::{Expected, bias};
use crate::decoding::ranker::Candidate;
use crate::options::{DecodingOptions, Phrase};
use crate::ranking::{Bias, PhraseTokens};
use crate::tokenizer::Tokenizer;

const PHRASES: [&[u32]; 4] = [&[10, 11, 12], &[20, 21], &[10, 30], &[5]];

fn small_bias(weight: f32) -> Arc<Bias> {
    let phrase = |tokens: &&[u32]| PhraseTokens {
        tokens: tokens.to_vec(),
        weight,
        is_bare: false,
    };
    let phrases: Vec<_> = PHRASES.iter().map(phrase).collect();
    Arc::new(Bias::new(&phrases, vec![false; 40]))
}

fn options(seed: u64) -> DecodingOptions {
    let mut options = DecodingOptions {
        sample_len: Some(20),
        seed,
        without_timestamps: seed.is_multiple_of(5),
        ..DecodingOptions::default()
    };
    match seed % 3 {
        0 => {}
        1 => options.beam_size = Some(3),
        _ => (options.temperature, options.best_of) = (0.8, Some(3)),
    }
    if seed.is_multiple_of(4) {
        options.sampling.repetition_penalty = 1.2;
        options.sampling.top_k = 10;
    }
    options
}

fn row(seed: u64) -> impl Fn(&[u32]) -> Vec<f32> {
    move |sampled| {
        let mut logits = random_row(seed, sampled, 5.0);
        logits[40] += 0.2 * sampled.len() as f32;
        logits
    }
}

fn found(seed: u64, weight: Option<f32>) -> Candidate {
    let mut task = task(&options(seed));
    if let Some(weight) = weight {
        task.expect(Expected::new(small_bias(weight), "en"));
    }
    run(&mut task, row(seed)).0
}

/// What a text has gained for its phrases, counted from its left; of nested phrases the longer.
fn gained(tokens: &[u32], weight: f32) -> f32 {
    let (mut at, mut sum) = (0, 0.0);
    while at < tokens.len() {
        let whole = PHRASES.iter().filter(|p| tokens[at..].starts_with(p));
        let length = whole.map(|p| p.len()).max().unwrap_or(0);
        sum += length as f32 * weight;
        at += length.max(1);
    }
    sum
}

#[test]
fn a_weight_of_zero_changes_nothing() {
    for seed in 0..120 {
        assert_eq!(found(seed, Some(0.0)), found(seed, None), "{seed}");
    }
}

#[test]
fn rows_have_the_models_own_numbers_and_what_their_phrases_gain() {
    let (vocabulary, mut phrases) = (small_vocabulary(), [0.0; 2]);
    for seed in (0..240_u64).filter(|seed| seed % 4 > 0) {
        let (plain, biased) = (found(seed, None), found(seed, Some(2.0)));
        phrases[0] += gained(&plain.tokens, 1.0);
        phrases[1] += gained(&biased.tokens, 1.0);
        let mut own = 0.0;
        for (i, token) in biased.tokens.iter().enumerate() {
            let sampled = &biased.tokens[..i];
            let left = masked(&vocabulary, &options(seed), &row(seed)(sampled), sampled);
            own += log_softmax(&left)[*token as usize];
        }
        let sampled = &biased.tokens;
        let left = masked(&vocabulary, &options(seed), &row(seed)(sampled), sampled);
        let end = log_softmax(&left)[40];
        let sum = f64::from(biased.sum_logprob);
        // The end counts where there was room for it.
        let near = |x: f64| (x - sum).abs() < 1e-3;
        assert!(
            near(own) || near(own + end),
            "{seed}: {sum} is not {own} {end}"
        );
        let ended = near(own + end) && !near(own);
        let expected = gained(&biased.tokens, 2.0);
        assert!(
            biased.bonus == expected || !ended && biased.bonus >= expected,
            "{seed}: {} is not {expected}, {:?}",
            biased.bonus,
            biased.tokens
        );
    }
    assert!(phrases[1] > 3.0 * phrases[0], "{phrases:?}");
}

#[test]
fn timestamps_that_are_due_stay_due() {
    let mut options = options(0);
    options.without_timestamps = false;
    // The text's best is likelier than any timestamp, not than all of them together.
    let row = |_: &[u32]| {
        let mut logits = vec![0.0; 64];
        logits[49..].fill(1.0);
        logits[10] = 3.0;
        logits
    };
    let plain = run(&mut task(&options), row).0;
    let mut heavy = task(&options);
    heavy.expect(Expected::new(small_bias(20.0), "en"));
    let heavy = run(&mut heavy, row).0;
    let is_timestamp = |token: &u32| *token >= 49;
    assert!(is_timestamp(&plain.tokens[0]) && is_timestamp(&heavy.tokens[0]));
    let times = |found: &Candidate| found.tokens.iter().filter(|t| is_timestamp(t)).count();
    assert_eq!(times(&plain), times(&heavy));
}

#[test]
fn terms_are_expected_in_their_spellings() {
    let tokenizer = Tokenizer::openai("test", 51_865).unwrap();
    assert_eq!(bias(&tokenizer, &[]), None);
    let made = bias(&tokenizer, &[Phrase::new("zacinto"), Phrase::new("東京")]).unwrap();
    let total = |text: &str, without_spaces| {
        let tokens = tokenizer.encode(text);
        let gained = |i: usize| made.gains(&tokens[..i], without_spaces).bonus(tokens[i]);
        (0..tokens.len()).map(gained).sum::<f32>() > 0.0
    };
    let cases = [
        ("in zacinto!", false, true),
        ("in Zacinto!", false, true),
        ("Zacinto", false, true),
        ("\"zacinto", false, true),
        ("in ZACINTO", false, false),
        ("in Zac, into", false, false),
        ("私は東京です", true, true),
        ("私は東京です", false, false),
    ];
    for (text, without_spaces, expected) in cases {
        assert_eq!(total(text, without_spaces), expected, "{text}");
    }
}
