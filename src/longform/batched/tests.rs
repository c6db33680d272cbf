//! The batched long form over scripted results, answered in an order of the test's choosing.

use std::collections::HashMap;

use crate::decoding::DecodingResult;
use crate::error::{Error, Result};
use crate::longform::{
    Content, DecodeWindows, Pauses, Recording, Speech, WindowRequest, transcribe_batched,
};
use crate::options::TranscribeOptions;
use crate::tokenizer::Tokenizer;
use crate::transcript::{DropReason, Segment, Transcript};

/// `<|0.00|>` of the multilingual vocabulary.
const BEGIN: u32 = 50_364;

/// A window as it was asked for: first frame, frames, prompt, seed.
type Asked = (usize, usize, Vec<u32>, u64);

/// Answers windows by the frame at which they start; all others with one closed segment.
struct Script {
    answers: HashMap<usize, Vec<u32>>,
    /// Of the windows that wait, the last is answered first.
    backwards: bool,
    waiting: Vec<(usize, usize)>,
    asked: Vec<Asked>,
    most_waiting: usize,
    silent: Vec<usize>,
    fails_at: Option<usize>,
}

impl Script {
    fn new(answers: &[(usize, &[u32])]) -> Self {
        Self {
            answers: answers
                .iter()
                .map(|(seek, tokens)| (*seek, tokens.to_vec()))
                .collect(),
            backwards: false,
            waiting: Vec::new(),
            asked: Vec::new(),
            most_waiting: 0,
            silent: Vec::new(),
            fails_at: None,
        }
    }
}

impl DecodeWindows for Script {
    fn submit(&mut self, id: usize, window: WindowRequest<'_>) -> Result<()> {
        let WindowRequest {
            seek_frames,
            segment_frames,
            options,
            ..
        } = window;
        self.asked.push((
            seek_frames,
            segment_frames,
            options.prompt.clone(),
            options.seed,
        ));
        self.waiting.push((id, seek_frames));
        self.most_waiting = self.most_waiting.max(self.waiting.len());
        Ok(())
    }

    fn next_result(&mut self) -> Result<(usize, DecodingResult)> {
        let place = if self.backwards {
            self.waiting.len() - 1
        } else {
            0
        };
        let (id, seek) = self.waiting.remove(place);
        if self.fails_at == Some(seek) {
            return Err(Error::Cancelled);
        }
        let text = 1000 + u32::try_from(seek / 100).unwrap();
        let tokens = self.answers.get(&seek).cloned();
        let silent = self.silent.contains(&seek);
        let result = DecodingResult {
            tokens: tokens.unwrap_or_else(|| vec![BEGIN, text, BEGIN + 200]),
            text: String::new(),
            avg_logprob: if silent { -2.0 } else { -0.3 },
            no_speech_prob: if silent { 0.9 } else { 0.1 },
            temperature: 0.0,
            compression_ratio: 1.0,
            language: "en".into(),
            failed: Vec::new(),
            alignment: None,
            words: None,
            drafted: None,
        };
        Ok((id, result))
    }
}

struct Run {
    transcript: Transcript,
    sunk: Vec<Segment>,
    reported: Vec<f64>,
}

fn options(batch_size: usize) -> TranscribeOptions {
    let mut options = TranscribeOptions {
        batch_size: Some(batch_size),
        ..Default::default()
    };
    options.decoding.language = Some("en".into());
    options
}

fn run(script: &mut Script, frames: usize, options: &TranscribeOptions) -> Result<Run> {
    run_over(script, &frames.into(), options)
}

fn run_over(script: &mut Script, content: &Content, options: &TranscribeOptions) -> Result<Run> {
    let frames = content.frames;
    let tokenizer = Tokenizer::openai("test", 51_865).expect("a known size");
    let (mut sunk, mut reported) = (Vec::new(), Vec::new());
    let transcript = transcribe_batched(
        content,
        // Rising, so that every stretch ends as early as it may.
        &(0..frames).map(|frame| frame as f32).collect::<Vec<_>>(),
        &mut Recording::new(&tokenizer, options.clone(), 448),
        script,
        &mut |segment: &Segment| {
            sunk.push(segment.clone());
            Ok(())
        },
        &mut |done_s| reported.push(done_s),
    )?;
    Ok(Run {
        transcript,
        sunk,
        reported,
    })
}

fn times(segments: &[Segment]) -> Vec<(f64, f64)> {
    segments
        .iter()
        .map(|segment| (segment.start, segment.end))
        .collect()
}

#[test]
fn results_are_joined_in_order_whatever_order_they_come_in() {
    let mut made = Vec::new();
    for (batch_size, backwards) in [(1, false), (3, false), (3, true), (16, true)] {
        let mut script = Script {
            backwards,
            ..Script::new(&[])
        };
        let run = run(&mut script, 20_000, &options(batch_size)).unwrap();
        assert!(
            script.most_waiting <= batch_size + 2,
            "{} waited",
            script.most_waiting
        );
        assert_eq!(run.sunk, run.transcript.segments);
        assert_eq!(run.reported.last(), Some(&200.0));
        assert!(run.reported.is_sorted(), "{:?}", run.reported);
        assert!(
            run.sunk
                .iter()
                .enumerate()
                .all(|(i, segment)| segment.id == i)
        );
        assert!(run.sunk.is_sorted_by_key(|segment| segment.start));
        script.asked.sort();
        made.push((run.transcript, script.asked));
    }
    assert!(
        made.windows(2).all(|pair| pair[0] == pair[1]),
        "the batch size changed the result"
    );
    let mut next = 0;
    for (seek, length, ..) in &made[0].1 {
        assert_eq!(*seek, next, "a gap");
        next += length;
    }
    assert_eq!(next, 20_000);
}

#[test]
fn an_open_tail_is_decoded_again_from_its_last_closed_timestamp() {
    let at = |steps: u32| BEGIN + steps;
    // tokens of a window of 20 s; where the rest starts
    let cases: [(&[u32], Option<usize>); 5] = [
        (&[at(0), 1000, at(400), at(400), 1001], Some(800)),
        (&[at(0), 1002, at(600)], None),
        // Nothing said of 10 s.
        (&[at(0), 1000, at(500), at(500)], Some(1000)),
        // Nothing said of 0.2 s.
        (&[at(0), 1000, at(990), at(990)], None),
        // But what was said is decoded again.
        (&[at(0), 1000, at(990), at(990), 1001], Some(1980)),
    ];
    for (tokens, rest) in cases {
        let mut script = Script::new(&[(0, tokens)]);
        let run = run(&mut script, 2000, &options(2)).unwrap();
        let resumed = script
            .asked
            .get(1)
            .map(|(seek, length, ..)| (*seek, seek + length));
        assert_eq!(resumed, rest.map(|rest| (rest, 2000)), "{tokens:?}");
        let starts: Vec<f64> = run.sunk.iter().map(|segment| segment.start).collect();
        let mut due = vec![0.0];
        due.extend(rest.map(|rest| rest as f64 / 100.0));
        assert_eq!(starts, due, "{tokens:?}");
        assert!(
            !run.sunk[0].tokens.contains(&1001),
            "an open segment was kept"
        );
        assert_eq!(run.reported.last(), Some(&20.0));
    }
}

#[test]
fn inside_a_stretch_the_next_window_starts_where_the_last_segment_ended() {
    let closed = [BEGIN, 1000, BEGIN + 1490, BEGIN + 1490];
    let mut script = Script::new(&[(0, &closed)]);
    run(&mut script, 41_600, &options(2)).unwrap();
    let places = script.asked.iter();
    let first: Vec<_> = places
        .map(|(seek, length, ..)| (*seek, *length))
        .filter(|(seek, _)| *seek < 4450)
        .collect();
    assert_eq!(first, [(0, 3000), (2980, 1470)]);
}

#[test]
fn segments_stay_in_their_stretch_and_never_go_back() {
    let at = |steps: u32| BEGIN + steps;
    // The end lies 10 s behind the stretch's.
    let late: &[u32] = &[at(0), 1000, at(1400), at(1400), 1001, at(1500)];
    let run = run(&mut Script::new(&[(0, late)]), 2000, &options(4)).unwrap();
    assert_eq!(times(&run.sunk), [(0.0, 20.0), (20.0, 20.0)]);
}

#[test]
fn silent_windows_say_nothing() {
    let mut script = Script {
        silent: vec![2250],
        ..Script::new(&[])
    };
    let run = run(&mut script, 10_000, &options(4)).unwrap();
    assert!(run.sunk.iter().all(|segment| segment.seek != 2250));
    assert_eq!((run.sunk.len(), script.asked.len()), (4, 5));
    assert_eq!(run.reported.last(), Some(&100.0));
}

#[test]
fn clips_prompts_and_seeds_reach_every_window() {
    let mut options = options(2);
    options.clip_timestamps = vec![40.0, 45.0, 1.0, 31.0, 90.0, 80.0];
    options.initial_prompt = Some("Hello".into());
    options.decoding.seed = 7;
    let mut script = Script::new(&[]);
    let run = run(&mut script, 6000, &options).unwrap();
    let prompt = Tokenizer::openai("test", 51_865).unwrap().encode(" Hello");
    let due = [(4000, 500, prompt.clone(), 4007), (100, 3000, prompt, 107)];
    assert_eq!(script.asked, due);
    assert_eq!(times(&run.sunk), [(40.0, 44.0), (1.0, 5.0)]);
}

#[test]
fn an_error_stops_the_work() {
    let mut script = Script {
        fails_at: Some(2250),
        ..Script::new(&[])
    };
    assert!(matches!(
        run(&mut script, 10_000, &options(2)),
        Err(Error::Cancelled)
    ));
    assert!(
        run(&mut Script::new(&[]), 0, &options(2))
            .unwrap()
            .sunk
            .is_empty()
    );
}

/// Somebody speaks from 0 to 27 s, from 29 to 55 s, and from 80 to 90 s.
fn spoken(guarded: bool) -> Content {
    let samples = |spans: &[(usize, usize)]| -> Vec<_> {
        spans.iter().map(|(a, b)| a * 16_000..b * 16_000).collect()
    };
    let voiced = Speech::of_samples(&samples(&[(0, 27), (29, 55), (80, 90)]), 10_000);
    Content {
        pauses: Some(Pauses::between(&voiced, 10_000, &[])),
        speech: Some(voiced.clone()),
        voiced: Some(voiced),
        guarded,
        ..10_000.into()
    }
}

#[test]
fn windows_are_packed_with_speech_and_end_in_pauses() {
    let at = |steps: u32| BEGIN + steps;
    let whole: &[u32] = &[at(0), 1000, at(1350)];
    let mut script = Script::new(&[(0, whole), (2900, whole), (8000, &[at(0), 1, at(500)])]);
    let run = run_over(&mut script, &spoken(false), &options(2)).unwrap();
    let places: Vec<_> = script.asked.iter().map(|a| (a.0, a.1)).collect();
    assert_eq!(places, [(0, 2700), (2900, 2600), (8000, 1000)]);
    assert_eq!(run.transcript.dropped, []);
}

#[test]
fn speech_without_text_is_decoded_by_itself_among_the_others() {
    let at = |steps: u32| BEGIN + steps;
    // Nothing between 5 s and 20 s, nothing at all from 80 s on.
    let holes: &[u32] = &[at(0), 1000, at(250), at(1000), 1002, at(1350)];
    let whole: &[u32] = &[at(0), 1001, at(1300)];
    // It leaves its end open, from 10.7 s on.
    let found: &[u32] = &[at(15), 1003, at(300), at(300), 1004];
    let rest: &[u32] = &[at(0), 1005, at(465)];
    let answers = [
        (0, holes),
        (2900, whole),
        (470, found),
        (1070, rest),
        (8000, &[] as &[u32]),
    ];
    let mut made = Vec::new();
    for (batch_size, backwards) in [(1, false), (3, false), (3, true)] {
        let mut script = Script {
            backwards,
            silent: vec![8000],
            ..Script::new(&answers)
        };
        let run = run_over(&mut script, &spoken(true), &options(batch_size)).unwrap();
        assert_eq!(run.sunk, run.transcript.segments);
        let found = times(&run.sunk);
        let due = [
            (0.0, 5.0),
            (5.0, 10.7),
            (10.7, 20.0),
            (20.0, 27.0),
            (29.0, 55.0),
        ];
        assert_eq!(found, due);
        let dropped = &run.transcript.dropped;
        let dropped: Vec<_> = dropped.iter().map(|d| (d.start, d.end, d.reason)).collect();
        assert_eq!(dropped, [(80.0, 90.0, DropReason::UncoveredSilent)]);
        script.asked.sort();
        made.push((run.transcript, script.asked));
    }
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    // Without the guard it is told, and not decoded again.
    let mut script = Script::new(&answers);
    let run = run_over(&mut script, &spoken(false), &options(2)).unwrap();
    assert!(script.asked.iter().all(|asked| asked.0 != 470));
    assert_eq!(
        (
            run.transcript.dropped[0].start,
            run.transcript.dropped[0].end
        ),
        (5.0, 20.0)
    );
}
