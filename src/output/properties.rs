//! What holds of every writer's cues, whatever the words and the options.

use super::readable;
use super::subtitles::cues;
use super::*;
use crate::transcript::{Segment, Word};
use unicode_width::UnicodeWidthStr;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) % n
    }

    fn seconds(&mut self, most: u64) -> f64 {
        self.below(most * 50 + 1) as f64 / 50.0
    }
}

const PLAIN: [&str; 10] = [
    " so",
    " we,",
    " considerably",
    " go.",
    " \"Why?\"",
    " —",
    " a",
    " über",
    " Donaudampfschiffahrt;",
    " ok",
];
const WIDE: [&str; 7] = ["私", "は、", "学校", "に", "行く。", "「そう」", "AI"];

/// Segments of words that follow each other, as they are found of a recording.
fn transcript(seed: u64) -> Transcript {
    let mut random = Random(seed);
    let (mut at, mut segments) = (random.seconds(3), Vec::new());
    let wide = seed.is_multiple_of(4);
    for id in 0..random.below(6) as usize {
        let mut words = Vec::new();
        for _ in 0..1 + random.below(25) {
            let pause = if random.below(9) == 0 { 4 } else { 0 };
            at += random.seconds(pause);
            let text = match wide {
                true => WIDE[random.below(7) as usize],
                false => PLAIN[random.below(10) as usize],
            };
            let start = at;
            at += [0.0, 0.06, 0.2, 0.4, 1.2][random.below(5) as usize];
            words.push(Word {
                word: text.into(),
                start,
                end: at,
                probability: 0.9,
            });
        }
        segments.push(Segment {
            id,
            start: words[0].start,
            end: at,
            text: words.iter().map(|word| word.word.as_str()).collect(),
            words: (!seed.is_multiple_of(5)).then_some(words),
            ..Segment::default()
        });
    }
    Transcript {
        segments,
        language: if wide { "ja" } else { "en" }.into(),
        // Some end with their last word, of some nothing is known.
        duration_s: [0.0, at, at + 3.0][random.below(3) as usize],
        ..Transcript::default()
    }
}

fn every_option() -> Vec<WriterOptions> {
    let widths = [None, Some(12), Some(42)];
    let counts = [None, Some(1), Some(2)];
    let mut all = vec![WriterOptions {
        readable: true,
        ..WriterOptions::default()
    }];
    for (max_line_width, max_line_count) in widths.into_iter().flat_map(|w| counts.map(|c| (w, c)))
    {
        for max_words_per_line in [None, Some(1), Some(4)] {
            all.push(WriterOptions {
                max_line_width,
                max_line_count,
                max_words_per_line,
                ..WriterOptions::default()
            });
        }
    }
    all
}

fn solid(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn cues_follow_each_other_within_the_audio_and_have_all_of_the_text() {
    for seed in 0..400 {
        let transcript = transcript(seed);
        let text: String = transcript
            .segments
            .iter()
            .map(|s| s.text.as_str())
            .collect();
        for options in every_option() {
            let highlighted = WriterOptions {
                highlight_words: true,
                ..options.clone()
            };
            let plain = cues(&transcript, &options);
            let shown: String = plain.iter().map(|cue| cue.text.as_str()).collect();
            assert_eq!(solid(&shown), solid(&text), "{seed} {options:?}");
            for all in [plain, cues(&transcript, &highlighted)] {
                let mut before = 0.0;
                for cue in all {
                    let holds = before <= cue.start && cue.start <= cue.end;
                    assert!(
                        holds,
                        "{seed} {options:?}: {before} {} {}",
                        cue.start, cue.end
                    );
                    before = cue.end;
                }
                let inside = transcript.duration_s == 0.0 || before <= transcript.duration_s;
                assert!(inside, "{seed} {options:?}");
            }
        }
    }
}

#[test]
fn readable_cues_keep_the_rules() {
    let (mut cues, mut short) = (0, 0);
    for seed in 0..400 {
        let transcript = transcript(seed);
        let columns = if transcript.language == "ja" { 26 } else { 42 };
        let all = readable::cues(&transcript);
        for (i, cue) in all.iter().enumerate() {
            let lines: Vec<&str> = cue.text.lines().collect();
            assert!((1..=2).contains(&lines.len()), "{seed}: {:?}", cue.text);
            let narrow = lines.iter().all(|line| line.width() <= columns);
            assert!(narrow, "{seed}: {:?}", cue.text);
            assert!(cue.end - cue.start <= 7.0 + 1e-9, "{seed}: {cue:?}");
            let last = all
                .get(i + 1)
                .map_or(transcript.duration_s, |next| next.start);
            let has_room = last == 0.0 || last - cue.start > 1.0;
            cues += 1;
            short += usize::from(has_room && cue.end - cue.start < 5.0 / 6.0 - 1e-9);
        }
        for pair in all.windows(2) {
            let gap = pair[1].start - pair[0].end;
            let apart = pair[1].start - pair[0].start;
            assert!(
                gap >= (2.0f64 / 24.0).min(apart / 2.0) - 1e-9,
                "{seed}: {pair:?}"
            );
        }
    }
    assert!(cues > 1000 && short == 0, "{short} of {cues} are short");
}

#[test]
fn cues_are_cut_at_clauses_and_lines_balanced() {
    let said =
        "When in the course of human events, it becomes necessary to dissolve the bands. So be it.";
    let words = said.split(' ').enumerate().map(|(i, word)| Word {
        word: format!(" {word}"),
        start: i as f64 * 0.4,
        end: i as f64 * 0.4 + 0.3,
        probability: 1.0,
    });
    let transcript = Transcript {
        segments: vec![Segment {
            text: format!(" {said}"),
            words: Some(words.collect()),
            ..Segment::default()
        }],
        language: "en".into(),
        duration_s: 8.0,
        ..Transcript::default()
    };
    let cues = readable::cues(&transcript);
    let texts: Vec<&str> = cues.iter().map(|cue| cue.text.as_str()).collect();
    let due = [
        "When in the course of human events,\nit becomes necessary to dissolve the bands.",
        "So be it.",
    ];
    assert_eq!(
        texts.concat().replace('\n', " ").len(),
        due.concat().len(),
        "{texts:?}"
    );
    assert!(
        texts.iter().all(|text| text.ends_with([',', '.'])),
        "{texts:?}"
    );
    assert_eq!(cues[cues.len() - 1].end, 6.7);
}

#[test]
fn other_formats_are_written_as_they_are_read() {
    let word = |text: &str, start, end| Word {
        word: text.into(),
        start,
        end,
        probability: 1.0,
    };
    let segment = |text: &str, start, end, words| Segment {
        start,
        end,
        text: text.into(),
        words,
        ..Segment::default()
    };
    let words = vec![word(" Say", 61.0, 61.5), word(" \"{hi}\",", 61.5, 62.004)];
    let transcript = Transcript {
        segments: vec![
            segment(" Say \"{hi}\",", 61.0, 62.004, Some(words)),
            segment(
                " then\\Now",
                3725.0,
                3726.0,
                Some(vec![word(" then\\Now", 3725.0, 3726.0)]),
            ),
        ],
        ..Transcript::default()
    };
    let plain = WriterOptions::default();
    let highlighted = WriterOptions {
        highlight_words: true,
        ..WriterOptions::default()
    };
    let written = |format, options| {
        let mut out = Vec::new();
        write_transcript(format, &transcript, options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(OutputFormat::Lrc, &plain),
        "[01:01.00]Say \"{hi}\",\n[01:02.00]\n[62:05.00]then\\Now\n[62:06.00]\n"
    );
    assert_eq!(
        written(OutputFormat::Lrc, &highlighted),
        "[01:01.00]<01:01.00>Say <01:01.50>\"{hi}\",\n[01:02.00]\n[62:05.00]<62:05.00>then\\Now\n[62:06.00]\n"
    );
    assert_eq!(
        written(OutputFormat::Csv, &plain),
        "start,end,text\r\n61000,62004,\"Say \"\"{hi}\"\",\"\r\n3725000,3726000,\"then\\Now\"\r\n"
    );
    let ass = written(OutputFormat::Ass, &plain);
    let (head, events) = ass.split_once("Effect, Text\n").unwrap();
    assert!(head.starts_with("[Script Info]\nScriptType: v4.00+\n"));
    assert_eq!(
        events,
        "Dialogue: 0,0:01:01.00,0:01:02.00,Default,,0,0,0,,Say \"\\{hi\\}\",\n\
         Dialogue: 0,1:02:05.00,1:02:06.00,Default,,0,0,0,,then\\\u{2060}Now\n"
    );
    let ass = written(OutputFormat::Ass, &highlighted);
    assert!(ass.contains(",,{\\u1}Say{\\u0} \"\\{hi\\}\",\n"), "{ass}");
}
