//! When a window fails, when it is silent, and what is tried next.

use crate::decoding::DecodingResult;
use crate::decoding::fallback::{at_temperature, is_silent, needs_fallback, next_temperature};
use crate::options::{DecodingOptions, Gates};

fn result(compression_ratio: f64, avg_logprob: f64, no_speech_prob: f64) -> DecodingResult {
    DecodingResult {
        tokens: vec![1],
        text: "a".into(),
        avg_logprob,
        no_speech_prob,
        temperature: 0.0,
        compression_ratio,
        language: "en".into(),
        failed: Vec::new(),
        alignment: None,
        words: None,
        drafted: None,
    }
}

#[test]
fn every_gate_at_its_threshold() {
    let nan = f64::NAN;
    // ratio, log-probability, no speech; needs fallback, is silent
    let cases = [
        (2.4, -1.0, 0.6, false, false),
        (2.41, -0.5, 0.0, true, false),
        (1.0, -1.01, 0.0, true, false),
        (2.41, -1.01, 0.59, true, false),
        // Unlikely text in likely silence is silence …
        (1.0, -1.01, 0.61, false, true),
        (2.41, -1.01, 0.61, false, true),
        // … likely text is not, and repetition alone is no excuse.
        (1.0, -0.99, 0.61, false, false),
        (2.41, -0.99, 0.99, true, false),
        // At the threshold the text does not yet speak against silence.
        (1.0, -1.0, 0.61, false, true),
        (1.0, f64::NEG_INFINITY, 0.0, true, false),
        (nan, nan, nan, false, false),
        (1.0, -5.0, nan, true, false),
        (1.0, nan, 0.9, false, true),
    ];
    let gates = Gates::default();
    for (ratio, logprob, no_speech, fails, silent) in cases {
        let result = result(ratio, logprob, no_speech);
        let found = (needs_fallback(&result, &gates), is_silent(&result, &gates));
        assert_eq!(found, (fails, silent), "{ratio} {logprob} {no_speech}");
    }
}

#[test]
fn a_gate_that_is_off_lets_everything_through() {
    let bad = result(9.0, -9.0, 0.9);
    let without = |change: fn(&mut Gates)| {
        let mut gates = Gates::default();
        change(&mut gates);
        (needs_fallback(&bad, &gates), is_silent(&bad, &gates))
    };
    assert_eq!(without(|_| ()), (false, true));
    assert_eq!(
        without(|g| g.compression_ratio_threshold = None),
        (false, true)
    );
    // Without its threshold the log-probability can excuse nothing.
    assert_eq!(without(|g| g.logprob_threshold = None), (true, true));
    assert_eq!(without(|g| g.no_speech_threshold = None), (true, false));
    let all_off = |g: &mut Gates| {
        *g = Gates {
            compression_ratio_threshold: None,
            logprob_threshold: None,
            no_speech_threshold: None,
            ..Gates::default()
        }
    };
    assert_eq!(without(all_off), (false, false));
}

#[test]
fn the_ladder_is_climbed_while_results_fail() {
    let gates = Gates {
        temperatures: vec![0.0, 0.4, 0.8],
        ..Gates::default()
    };
    let (good, bad) = (result(1.0, -0.2, 0.1), result(1.0, -2.0, 0.1));
    let climbed: Vec<_> = (0..4)
        .map(|attempt| next_temperature(&gates, attempt, &bad))
        .collect();
    assert_eq!(climbed, [Some(0.4), Some(0.8), None, None]);
    assert_eq!(next_temperature(&gates, 0, &good), None);
}

#[test]
fn beams_belong_to_temperature_zero_and_samples_above() {
    let asked = DecodingOptions {
        beam_size: Some(5),
        patience: Some(2.0),
        best_of: Some(4),
        length_penalty: Some(0.5),
        ..Default::default()
    };
    let cold = at_temperature(&asked, 0.0);
    let warm = at_temperature(&asked, 0.2);
    assert_eq!(
        (cold.beam_size, cold.patience, cold.best_of),
        (Some(5), Some(2.0), None)
    );
    assert_eq!(
        (warm.beam_size, warm.patience, warm.best_of),
        (None, None, Some(4))
    );
    assert_eq!((cold.temperature, warm.temperature), (0.0, 0.2));
    assert_eq!(
        (cold.length_penalty, warm.length_penalty),
        (Some(0.5), Some(0.5))
    );
}
