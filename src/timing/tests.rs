//! The pieces of word timing against what they do written plainly.

use super::alignment::{closed_text, median, median_filter, warp};
use super::segments::{Punctuation, add_word_times};
use super::split::split_to_words;
use super::words::merge_punctuations;
use crate::decoding::WordTiming;
use crate::tokenizer::Tokenizer;
use crate::transcript::Segment;

fn openai() -> Tokenizer {
    Tokenizer::openai("test", 51_865).unwrap()
}

#[test]
fn the_network_finds_the_median_of_any_seven() {
    // What sorts all zeros and ones sorts everything.
    for bits in 0..1u32 << 7 {
        let x = std::array::from_fn(|i| (bits >> i & 1) as f32);
        assert_eq!(
            median(x),
            f32::from(u8::from(bits.count_ones() > 3)),
            "{bits:07b}"
        );
    }
}

#[test]
fn the_filter_mirrors_the_ends_and_leaves_short_rows() {
    let numbers = |len: usize| -> Vec<f32> { (0..len).map(|i| (i * 37 % 11) as f32).collect() };
    for len in [0, 1, 3, 4, 5, 6, 7, 8, 20] {
        let row = numbers(len);
        let mut out = vec![-1.0; len];
        median_filter(&row, &mut out);
        if len <= 3 {
            assert_eq!(out, row);
            continue;
        }
        for (i, found) in out.iter().enumerate() {
            let last = len as isize - 1;
            let mirror = |at: isize| (last - (last - at.abs()).abs()) as usize;
            let around = (-3..=3).map(|k| row[mirror(i as isize + k)]);
            let mut around: Vec<f32> = around.collect();
            around.sort_by(f32::total_cmp);
            assert_eq!(*found, around[3], "{i} of {len}");
        }
    }
}

#[test]
fn the_path_follows_the_weights() {
    // Three tokens, each loud over a stretch of seven positions in all.
    let loud = [0, 0, 1, 1, 1, 2, 2];
    let weights: Vec<f32> = (0..3)
        .flat_map(|row| loud.map(|l| if l == row { 1.0 } else { -1.0 }))
        .collect();
    let path = warp(&weights, 3, 7);
    let due: Vec<_> = loud
        .iter()
        .enumerate()
        .map(|(at, row)| (*row, at))
        .collect();
    assert_eq!(path, due);
    assert_eq!(warp(&[f32::NAN; 21], 3, 7).last(), Some(&(2, 6)));
    assert!(warp(&[], 0, 0).is_empty());
}

#[test]
fn words_are_cut_at_spaces_or_characters() {
    let tokenizer = openai();
    let words = |language, text: &str| -> Vec<String> {
        let words = split_to_words(&tokenizer, language, &tokenizer.encode(text));
        let tokens: Vec<u32> = words.iter().flat_map(|w| w.tokens.clone()).collect();
        assert_eq!(tokens, tokenizer.encode(text));
        words.into_iter().map(|word| word.text).collect()
    };
    assert_eq!(
        words("en", " He said: \"no\"."),
        [" He", " said", ":", " \"no\"."]
    );
    assert_eq!(words("en", " naïve Łódź"), [" naïve", " Łódź"]);
    let text = "今日は良い天気ですね、と彼は言った";
    let characters = words("ja", text);
    assert_eq!(characters.concat(), text);
    assert!(characters.len() > 1, "{characters:?}");
}

#[test]
fn text_behind_the_last_pair_of_timestamps_is_left() {
    let tokenizer = openai();
    let (t, eot) = (tokenizer.timestamp_begin(), tokenizer.eot());
    let cases: [(&[u32], &[u32]); 6] = [
        (&[], &[]),
        (&[t, 5, 6], &[5, 6]),
        (&[t, 5, t + 9], &[5]),
        (&[t, 5, t + 9, t + 9, 6, 7], &[5]),
        (&[t, 5, t + 9, t + 9, 6, t + 20], &[5, 6]),
        (&[t, 5, eot + 1, t + 9, t + 9], &[5]),
    ];
    for (tokens, due) in cases {
        assert_eq!(closed_text(&tokenizer, tokens), due, "{tokens:?}");
    }
}

fn timing(word: &str, start: f64, end: f64) -> WordTiming {
    WordTiming {
        word: word.into(),
        tokens: vec![1],
        start,
        end,
        probability: 0.5,
    }
}

#[test]
fn punctuation_joins_its_word() {
    let mut words: Vec<_> = [" \"", "so", ",", " he", "…"]
        .map(|word| timing(word, 0.0, 0.0))
        .into();
    merge_punctuations(&mut words, "\"'([{-", "\"'.,!");
    let texts: Vec<_> = words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(texts, ["", " \"so,", "", " he", "…"]);
    let tokens: Vec<_> = words.iter().map(|word| word.tokens.len()).collect();
    assert_eq!(tokens, [0, 3, 0, 1, 1]);
}

#[test]
fn segments_get_their_words_and_draw_their_times_to_them() {
    let segment = |start, end, tokens: usize| Segment {
        seek: 1000,
        start,
        end,
        tokens: vec![1; tokens],
        ..Segment::default()
    };
    let mut segments = [segment(10.0, 12.0, 2), segment(12.0, 15.0, 1)];
    let words = vec![
        timing(" one", 0.2, 0.6),
        timing(" two", 0.6, 1.0),
        // Silence was taken in: the second sentence's word is cut to twice the median.
        timing(" three", 1.0, 4.9),
    ];
    let punctuation = Punctuation {
        prepended: "",
        appended: "",
    };
    add_word_times(&mut segments, words, 50_257, punctuation, 10.0);
    let times: Vec<_> = segments
        .iter()
        .flat_map(|s| s.words.iter().flatten())
        .map(|w| (w.word.as_str(), w.start, w.end))
        .collect();
    assert_eq!(times[..2], [(" one", 10.2, 10.6), (" two", 10.6, 11.0)]);
    assert_eq!((segments[0].start, segments[0].end), (10.2, 11.0));
    let (word, start, end) = times[2];
    assert_eq!((word, end), (" three", 14.9));
    assert!((start - 14.1).abs() < 1e-9, "{start}");
    assert_eq!(segments[1].start, start);
}
