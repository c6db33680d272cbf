//! Logits that no sound model gives: nothing panics, nothing runs on, and the gates see a failure.

use super::feed::Decoder;
use super::plain::random_row;
use super::search::{run, task};
use crate::decoding::rows::Step;
use crate::options::DecodingOptions;

/// The ways of choosing a token.
fn modes() -> [DecodingOptions; 4] {
    let base = || DecodingOptions {
        sample_len: Some(12),
        ..Default::default()
    };
    [
        base(),
        DecodingOptions {
            temperature: 0.7,
            best_of: Some(3),
            ..base()
        },
        DecodingOptions {
            beam_size: Some(3),
            ..base()
        },
        DecodingOptions {
            beam_size: Some(3),
            without_timestamps: true,
            ..base()
        },
    ]
}

#[test]
fn rows_without_a_usable_logit_fail_at_once() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for bad in [nan, inf, -inf] {
        for options in modes() {
            let (best, widths) = run(&mut task(&options), |_| vec![bad; 64]);
            assert_eq!(best.sum_logprob, -inf, "{bad} {options:?}");
            assert!(widths.is_empty(), "{bad} {options:?}");
        }
    }
}

#[test]
fn a_row_that_breaks_later_fails_too() {
    for options in modes() {
        let row = |sampled: &[u32]| {
            let mut logits = random_row(1, sampled, 5.0);
            logits[40] = -40.0;
            if sampled.len() < 3 {
                logits
            } else {
                vec![f32::NAN; 64]
            }
        };
        let (best, widths) = run(&mut task(&options), row);
        assert_eq!(best.sum_logprob, f32::NEG_INFINITY, "{options:?}");
        assert!(widths.len() <= 3, "{options:?} {widths:?}");
    }
}

#[test]
fn a_few_broken_logits_do_not_spoil_a_row() {
    for options in modes() {
        let clean = |sampled: &[u32]| {
            let mut logits = random_row(2, sampled, 5.0);
            logits[30..34].fill(f32::NEG_INFINITY);
            logits
        };
        let spoiled = |sampled: &[u32]| {
            let mut logits = clean(sampled);
            logits[30] = f32::NAN;
            logits[31] = f32::INFINITY;
            logits[32] = -f32::NAN;
            logits
        };
        let expected = run(&mut task(&options), clean);
        assert_eq!(run(&mut task(&options), spoiled), expected, "{options:?}");
        assert!(expected.0.sum_logprob.is_finite());
    }
}

#[test]
fn missing_logits_end_the_rows() {
    for options in modes() {
        let mut task = task(&options);
        let first = random_row(3, &[], 5.0);
        assert!(
            matches!(task.start(&[], &first), Step::Continue(_)),
            "{options:?}"
        );
        assert!(task.no_speech_prob.is_nan());
        assert_eq!(task.step(&[1.0, 2.0], 64), Step::Done, "{options:?}");
        assert_eq!(task.best().sum_logprob, f32::NEG_INFINITY, "{options:?}");
    }
}

#[test]
fn a_window_that_is_cut_short_has_what_it_has() {
    for options in modes() {
        let mut task = task(&options);
        assert!(task.best().tokens.is_empty());
        let first = random_row(4, &[], 5.0);
        assert!(matches!(task.start(&first, &first), Step::Continue(_)));
        assert_eq!(task.best().tokens.len(), 1, "{options:?}");
        assert!((0.0..=1.0).contains(&task.no_speech_prob));
    }
}
