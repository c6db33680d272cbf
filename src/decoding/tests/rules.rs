//! Each filter by itself, then all of them against the plain version.

use super::plain::{fine_tuned_vocabulary, log_softmax, masked, random_row, small_vocabulary};
use crate::decoding::rules::LogitRules;
use crate::decoding::sampling::mix;
use crate::decoding::vocabulary::Vocabulary;
use crate::error::Error;
use crate::options::{DecodingOptions, SuppressTokens};
use crate::ranking::{Choice, Distribution};

fn rules(options: &DecodingOptions) -> LogitRules {
    LogitRules::new(&small_vocabulary(), options).expect("the options are sound")
}

/// Every token that may be sampled after these, by equal logits.
fn allowed(options: &DecodingOptions, logits: &[f32], sampled: &[u32]) -> Vec<usize> {
    left(&rules(options), logits, sampled)
}

fn left(rules: &LogitRules, logits: &[f32], sampled: &[u32]) -> Vec<usize> {
    let distribution = Distribution::new(logits, &rules.constraint(sampled));
    distribution
        .runs()
        .flat_map(|(start, run)| start..start + run.len())
        .collect()
}

/// Text that the default options leave: all but 3 and 9, and the end of text.
fn text() -> Vec<usize> {
    (0..=40)
        .chain([42])
        .filter(|t| ![3, 9].contains(t))
        .collect()
}

#[test]
fn timestamp_rules() {
    // Text far ahead, so that the sum of timestamps does not decide.
    let mut logits = vec![0.0; 64];
    logits[..49].fill(20.0);
    let with = |times: std::ops::Range<usize>| text().into_iter().chain(times).collect::<Vec<_>>();
    let ends =
        |times: std::ops::Range<usize>| [40, 42].into_iter().chain(times).collect::<Vec<_>>();
    let cases: [(&str, &[u32], Vec<usize>); 9] = [
        ("the first is a timestamp", &[], (49..64).collect()),
        ("one timestamp counts as a pair", &[50], text()),
        ("after text time moves on", &[50, 1], with(51..64)),
        (
            "a closing one may be repeated or end the window",
            &[50, 1, 52],
            ends(52..64),
        ),
        ("a pair is followed by text", &[50, 1, 52, 52], text()),
        (
            "time moves on from the pair",
            &[50, 1, 52, 54, 1],
            with(55..64),
        ),
        (
            "the latest timestamp counts, not the largest",
            &[60, 1, 52, 1],
            with(53..64),
        ),
        (
            "nothing is left after the last timestamp",
            &[50, 1, 63, 63, 1],
            text(),
        ),
        ("text only", &[1, 2], with(49..64)),
    ];
    let options = DecodingOptions::default();
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(name, sampled, expected)| (name, allowed(&options, &logits, sampled), expected))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_first_timestamp_has_a_limit() {
    let cases = [
        (Some(1.0), 49..64),
        (Some(0.02), 49..51),
        (Some(0.1), 49..55),
        (Some(0.05), 49..52), // half a step goes to the even one
        (Some(0.0), 49..64),  // zero means none
        (None, 49..64),
    ];
    for (max_initial_timestamp, expected) in cases {
        let options = DecodingOptions {
            max_initial_timestamp,
            ..Default::default()
        };
        let found = allowed(&options, &[0.0; 64], &[]);
        assert_eq!(
            found,
            expected.collect::<Vec<_>>(),
            "{max_initial_timestamp:?}"
        );
    }
}

#[test]
fn timestamps_win_together() {
    // Fourteen timestamps at 0 weigh ln 14 = 2.639 together.
    let options = DecodingOptions::default();
    for (best_text, forced) in [(2.63, true), (2.65, false)] {
        let mut logits = vec![0.0; 64];
        logits[..49].fill(-50.0);
        logits[5] = best_text;
        let found = allowed(&options, &logits, &[49, 1]);
        assert_eq!(found.contains(&5), !forced, "{best_text}");
        assert_eq!(
            found.contains(&40),
            !forced,
            "even the end of text gives way: {best_text}"
        );
        let rules = rules(&options);
        let distribution = Distribution::new(&logits, &rules.constraint(&[49, 1]));
        let expected = if forced {
            -(14f32.ln())
        } else {
            -(14.0 + best_text.exp()).ln()
        };
        assert!(
            (distribution.logprob(55) - expected).abs() < 1e-5,
            "{best_text}"
        );
    }
}

#[test]
fn blanks_and_suppressed_tokens() {
    let only = |tokens: &[u32]| SuppressTokens::Only(tokens.to_vec());
    let non_speech = |tokens: &[u32]| SuppressTokens::NonSpeechAnd(tokens.to_vec());
    let specials = [41, 43, 44, 45, 46, 47];
    let cases = [
        (
            non_speech(&[]),
            true,
            true,
            [specials.as_slice(), &[3, 9, 7, 40]].concat(),
        ),
        (
            non_speech(&[]),
            true,
            false,
            [specials.as_slice(), &[3, 9]].concat(),
        ),
        (
            non_speech(&[20]),
            false,
            true,
            [specials.as_slice(), &[3, 9, 20]].concat(),
        ),
        (
            only(&[20]),
            true,
            false,
            [specials.as_slice(), &[20]].concat(),
        ),
        (only(&[]), true, true, vec![7, 40]),
        (only(&[]), true, false, vec![]),
    ];
    for (suppress_tokens, suppress_blank, first, banned) in cases {
        let case = format!("{suppress_tokens:?} {suppress_blank} {first}");
        let options = DecodingOptions {
            suppress_tokens,
            suppress_blank,
            without_timestamps: true,
            ..Default::default()
        };
        let found = allowed(&options, &[0.0; 64], if first { &[] } else { &[1] });
        let expected: Vec<usize> = (0..64).filter(|t| !banned.contains(t)).collect();
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error() {
    let suppress_tokens = SuppressTokens::Only(vec![5, 64]);
    let options = DecodingOptions {
        suppress_tokens,
        ..Default::default()
    };
    let error = LogitRules::new(&small_vocabulary(), &options).map(|_| ());
    assert!(
        matches!(
            error,
            Err(Error::Option {
                option: "suppress_tokens",
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn added_text_behind_the_timestamps_is_text() {
    let vocabulary = fine_tuned_vocabulary();
    let mut logits = vec![20.0; 72];
    logits[49..64].fill(0.0);
    let with = |times: std::ops::Range<usize>| text().into_iter().chain(times).chain(64..68);
    let cases: [(&[u32], Vec<usize>); 6] = [
        (&[], (49..64).collect()),
        (&[50], with(0..0).collect()),
        (&[50, 65], with(51..64).collect()),
        (&[50, 65, 52], [40, 42].into_iter().chain(52..64).collect()),
        (&[50, 1, 52, 52], with(0..0).collect()),
        (&[50, 67, 67], with(51..64).collect()),
    ];
    let rules = LogitRules::new(&vocabulary, &DecodingOptions::default()).expect("sound");
    for (sampled, expected) in cases {
        assert_eq!(left(&rules, &logits, sampled), expected, "{sampled:?}");
    }
    // Where timestamps win together, added text gives way too.
    let times: Vec<usize> = (51..64).collect();
    assert_eq!(left(&rules, &[0.0; 72], &[50, 65]), times);
}

#[test]
fn what_has_no_token_is_never_sampled() {
    let cases = [
        (SuppressTokens::Only(vec![]), vec![70, 71]),
        (
            SuppressTokens::Only(vec![5]),
            vec![5, 41, 43, 44, 45, 46, 47, 68, 69, 70, 71],
        ),
    ];
    for (suppress_tokens, banned) in cases {
        let options = DecodingOptions {
            suppress_tokens,
            without_timestamps: true,
            ..Default::default()
        };
        let rules = LogitRules::new(&fine_tuned_vocabulary(), &options).expect("sound");
        let expected: Vec<usize> = (0..72).filter(|t| !banned.contains(t)).collect();
        assert_eq!(left(&rules, &[0.0; 72], &[1]), expected);
    }
}

#[test]
fn a_vocabulary_without_timestamps_does_without() {
    let vocabulary = Vocabulary {
        timestamp_end: 49,
        n_vocab: 52,
        ..small_vocabulary()
    };
    let mut options = DecodingOptions::default();
    let error = LogitRules::new(&vocabulary, &options).expect_err("no timestamps");
    assert!(
        error.to_string().contains("has no timestamps"),
        "{error}: says what is missing"
    );
    options.without_timestamps = true;
    let rules = LogitRules::new(&vocabulary, &options).expect("sound");
    assert!(left(&rules, &[0.0; 52], &[1]).contains(&51), "text");
}

#[test]
fn all_rules_together_equal_the_plain_version() {
    let vocabularies = [small_vocabulary(), fine_tuned_vocabulary()];
    for (seed, vocabulary) in (0..3000_u64).zip(vocabularies.iter().cycle()) {
        let draw = |what: u64| mix(seed.wrapping_mul(31).wrapping_add(what));
        let options = DecodingOptions {
            without_timestamps: draw(0).is_multiple_of(5),
            suppress_blank: draw(1).is_multiple_of(2),
            max_initial_timestamp: [None, Some(0.0), Some(0.1), Some(1.0)][draw(2) as usize % 4],
            ..Default::default()
        };
        let length = draw(3) % 6;
        let timestamp = |i: u64| draw(100 + i).is_multiple_of(2);
        let token = |i: u64| match draw(i + 9) {
            time if timestamp(i) => 49 + time % 15,
            text if vocabulary.n_vocab > 64 && text % 7 == 0 => 64 + text % 4,
            text => text % 40,
        };
        let sampled: Vec<u32> = (10..10 + length).map(|i| token(i) as u32).collect();
        let mut logits = random_row(seed, &sampled, 6.0);
        logits.extend_from_within(..vocabulary.n_vocab - 64);
        let expected = log_softmax(&masked(vocabulary, &options, &logits, &sampled));
        let rules = LogitRules::new(vocabulary, &options).expect("the options are sound");
        let distribution = Distribution::new(&logits, &rules.constraint(&sampled));
        for Choice { token, logprob, .. } in distribution.top_k(vocabulary.n_vocab) {
            let expected = expected[token as usize];
            let same =
                f64::from(logprob) == expected || (f64::from(logprob) - expected).abs() < 1e-5;
            assert!(
                same,
                "seed {seed} {sampled:?} token {token}: {logprob} {expected}"
            );
        }
    }
}
