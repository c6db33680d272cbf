//! Penalties, narrowed draws and the limit of text tokens, against the long way.

use super::plain::{PlainBeams, random_row, small_vocabulary};
use super::search::{run, task};
use crate::decoding::penalties::Penalties;
use crate::options::{DecodingOptions, Sampling};

/// vLLM's penalties in double precision, over every token.
fn penalised(asked: Sampling, prompt: &[u32], sampled: &[u32], logits: &[f32]) -> Vec<f32> {
    let penalise = |(token, logit): (usize, &f32)| {
        let is_it = |other: &&u32| **other as usize == token;
        let count = sampled.iter().filter(is_it).count();
        let mut x = f64::from(*logit);
        if token >= 40 {
            return *logit;
        }
        if count > 0 || prompt.iter().any(|other| is_it(&other)) {
            let by = asked.repetition_penalty;
            x = if x > 0.0 { x / by } else { x * by };
        }
        x -= asked.frequency_penalty * count as f64;
        x -= asked.presence_penalty * f64::from(u8::from(count > 0));
        x as f32
    };
    logits.iter().enumerate().map(penalise).collect()
}

/// Logits of both signs, so that text repeats itself where nothing speaks against it.
fn row(seed: u64, sampled: &[u32]) -> Vec<f32> {
    let mut logits = random_row(seed, sampled, 5.0);
    for (token, logit) in logits.iter_mut().enumerate() {
        *logit += if token % 8 == seed as usize % 8 {
            1.5
        } else {
            -2.5
        };
    }
    logits[40] += 0.3 * sampled.len() as f32;
    logits
}

#[test]
fn searches_under_penalties_equal_the_plain_version() {
    let vocabulary = small_vocabulary();
    let mut changed = 0;
    for seed in 0..240_u64 {
        let sampling = Sampling {
            repetition_penalty: [1.0, 1.9, 0.6, 1.3][seed as usize % 4],
            frequency_penalty: [0.0, 1.8, -1.5][seed as usize % 3],
            presence_penalty: [0.0, 2.0, -0.5, 0.0, 1.0][seed as usize % 5],
            // There is nothing to draw here.
            top_k: 1,
            ..Sampling::default()
        };
        let beam_size = [None, Some(2), Some(3)][seed as usize / 2 % 3];
        let options = DecodingOptions {
            beam_size,
            sample_len: Some(20),
            prompt: vec![1, 2, 8, 17, 26],
            without_timestamps: seed.is_multiple_of(6),
            sampling,
            ..Default::default()
        };
        let penalised =
            |sampled: &[u32]| penalised(sampling, &options.prompt, sampled, &row(seed, sampled));
        let plain = PlainBeams {
            vocabulary: &vocabulary,
            options: &options,
            row: &penalised,
            steps: 20,
        };
        let mut best: Option<(f64, Vec<u32>)> = None;
        for (tokens, sum) in plain.candidates() {
            let score = sum / tokens.len() as f64;
            if !tokens.is_empty() && best.as_ref().is_none_or(|best| score > best.0) {
                best = Some((score, tokens));
            }
        }
        let found = run(&mut task(&options), |sampled| row(seed, sampled)).0;
        let (score, tokens) = best.expect("some sequence has a token");
        assert_eq!(found.tokens, tokens, "seed {seed} {sampling:?}");
        let score_here = f64::from(found.sum_logprob) / found.tokens.len() as f64;
        assert!((score_here - score).abs() < 1e-5, "seed {seed}");
        let free = DecodingOptions {
            sampling: Sampling::default(),
            ..options
        };
        let free = run(&mut task(&free), |sampled| row(seed, sampled)).0;
        changed += usize::from(free.tokens != found.tokens);
    }
    assert!(changed > 100, "{changed} texts changed");
}

#[test]
fn what_changes_nothing_is_ranked_where_logits_are_made() {
    let none = Sampling::default();
    let narrowed = Sampling {
        top_k: 12,
        top_p: 0.4,
        min_p: 0.5,
        ..none
    };
    let penalised = Sampling {
        presence_penalty: 0.1,
        ..none
    };
    let all = Sampling { top_k: -1, ..none };
    let table = [
        (none, 0.0, false),
        (none, 0.8, false),
        (all, 0.8, false),
        (narrowed, 0.0, false),
        (narrowed, 0.8, true),
        (penalised, 0.0, true),
    ];
    for (sampling, temperature, here) in table {
        let options = DecodingOptions {
            temperature,
            sampling,
            ..Default::default()
        };
        let penalties = Penalties::new(&options, &[41, 43], &small_vocabulary());
        assert_eq!(penalties.is_some(), here, "{temperature} {sampling:?}");
    }
}

#[test]
fn the_narrowest_draws_are_the_best_tokens() {
    let best = DecodingOptions {
        sample_len: Some(20),
        ..Default::default()
    };
    for seed in 0..40 {
        let best = run(&mut task(&best), |sampled| row(seed, sampled)).0;
        let narrow = [(1, 1.0, 0.0), (0, 1e-9, 0.0), (0, 1.0, 1.0)];
        for (top_k, top_p, min_p) in narrow {
            let drawn = DecodingOptions {
                temperature: 1.0,
                sample_len: Some(20),
                seed,
                sampling: Sampling {
                    top_k,
                    top_p,
                    min_p,
                    ..Sampling::default()
                },
                ..Default::default()
            };
            let drawn = run(&mut task(&drawn), |sampled| row(seed, sampled)).0;
            assert_eq!(drawn, best, "{top_k} {top_p} {min_p}");
        }
    }
}

#[test]
fn a_row_ends_with_the_text_that_it_may_have() {
    let mut cut = 0;
    for seed in 0..60 {
        for most in [1, 2, 5] {
            for beam_size in [None, Some(3)] {
                for without_timestamps in [false, true] {
                    let options = DecodingOptions {
                        beam_size,
                        without_timestamps,
                        max_new_tokens: Some(most),
                        ..Default::default()
                    };
                    let found = run(&mut task(&options), |sampled| row(seed, sampled)).0;
                    let timed = |token: &&u32| !without_timestamps && **token >= 49;
                    let text = found.tokens.iter().filter(|t| !timed(t)).count();
                    assert!(text <= most, "{most}: {:?}", found.tokens);
                    assert!(found.sum_logprob.is_finite());
                    cut += usize::from(text == most);
                    // The first token is no end of text.
                    assert!(most > 1 || !without_timestamps || text == 1);
                    let longer = DecodingOptions {
                        max_new_tokens: None,
                        ..options
                    };
                    let longer = run(&mut task(&longer), |sampled| row(seed, sampled)).0;
                    if beam_size.is_none() {
                        assert!(longer.tokens.starts_with(&found.tokens));
                    }
                }
            }
        }
    }
    assert!(cut > 300, "{cut} were cut");
}
