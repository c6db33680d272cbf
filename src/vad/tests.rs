//! What the peers say: `tests/peers/silero.py` made the golden file with the ONNX model of PyPI's silero-vad
//! 6.2.3 and faster-whisper 1.2.1.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::audio::{self, Limits};
use crate::kernels::SimdLevel;

#[derive(Deserialize)]
struct Golden {
    file: String,
    samples: usize,
    probabilities: Vec<f32>,
    spans: Vec<Spans>,
}

#[derive(Deserialize)]
struct Spans {
    options: VadOptions,
    spans: Vec<(usize, usize)>,
}

fn golden() -> Vec<Golden> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vad.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A recording of the examples, if it is one.
fn example(name: &str) -> Option<Vec<f32>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/audio")
        .join(name);
    let open = |file| {
        audio::open(file, &Limits::default())
            .unwrap()
            .read_to_end()
            .unwrap()
    };
    file.is_file().then(|| open(file.as_path()))
}

fn listened(samples: &[f32], piece: usize, level: Option<SimdLevel>) -> Heard {
    let mut detector = Detector::new(level).unwrap();
    for samples in samples.chunks(piece) {
        detector.push(samples);
    }
    detector.finish()
}

#[test]
fn probabilities_are_silero_s_at_every_vector_level() {
    let mut compared = 0;
    for golden in golden() {
        let Some(samples) = example(&golden.file) else {
            continue;
        };
        for level in SimdLevel::available() {
            let heard = listened(&samples, 4096, Some(level));
            assert_eq!(heard.samples, golden.samples, "{}", golden.file);
            assert_eq!(heard.probabilities.len(), golden.probabilities.len());
            let pairs = heard.probabilities.iter().zip(&golden.probabilities);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{} at {level}: {worst}", golden.file);
            compared += heard.probabilities.len();
        }
    }
    assert!(compared > 300, "{compared} chunks");
}

#[test]
fn the_pieces_that_samples_come_in_change_nothing() {
    let samples = example("es_conteo.wav").unwrap();
    let whole = listened(&samples, samples.len(), None);
    for piece in [1, 511, 512, 20_481] {
        assert!(listened(&samples, piece, None) == whole, "{piece}");
    }
    let nothing = listened(&[], 1, None);
    assert_eq!((nothing.probabilities.len(), nothing.samples), (1, 0));
}

#[test]
fn very_quiet_speech_is_heard_where_that_is_asked_for() {
    let loud = example("en_quick_brown_fox.wav").unwrap();
    let quiet: Vec<f32> = loud.iter().map(|x| x / 300.0).collect();
    let heard = |samples: &[f32], lifts| {
        let mut detector = Detector::new(None).unwrap().lifting_quiet(lifts);
        detector.push(samples);
        detector.finish()
    };
    let chunks = |heard: &Heard| heard.probabilities.iter().filter(|p| **p >= 0.5).count();
    let all = chunks(&heard(&loud, false));
    assert_eq!(heard(&loud, true), heard(&loud, false));
    assert!(chunks(&heard(&quiet, true)) * 10 >= all * 9);
    assert!(chunks(&heard(&quiet, false)) < chunks(&heard(&quiet, true)));
    // Neither silence nor faint noise is speech.
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * 1e-3
    };
    let noise: Vec<f32> = (0..100_000).map(|_| noise()).collect();
    assert_eq!(chunks(&heard(&noise, true)), 0);
    assert_eq!(chunks(&heard(&[0.0; 50_000], true)), 0);
}

#[test]
fn spans_are_those_of_faster_whisper_s_rules() {
    let mut found = 0;
    for Golden {
        file,
        samples,
        probabilities,
        spans,
    } in golden()
    {
        let heard = Heard {
            probabilities,
            samples,
        };
        for Spans { options, spans } in spans {
            let own: Vec<(usize, usize)> = speech_spans(&heard, &options)
                .into_iter()
                .map(|Range { start, end }| (start, end))
                .collect();
            assert_eq!(own, spans, "{file}: {options:?}");
            found += own.len();
        }
    }
    assert!(found > 100, "{found} spans");
}

#[test]
fn spans_keep_order_whatever_the_probabilities() {
    let mut seed = 7u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32
    };
    for round in 0..300 {
        let length = (random() * 400.0) as usize + 1;
        let samples = (length - 1) * CHUNK + (random() * 511.0) as usize;
        let mut level = random();
        let probabilities = (0..length)
            .map(|_| {
                if random() < 0.2 {
                    level = random();
                }
                level
            })
            .collect();
        let heard = Heard {
            probabilities,
            samples,
        };
        let options = VadOptions {
            min_speech_duration_ms: (random() * 500.0) as u32,
            max_speech_duration_s: (random() < 0.5).then(|| f64::from(random()) * 5.0 + 0.1),
            min_silence_duration_ms: (random() * 1000.0) as u32,
            speech_pad_ms: (random() * 400.0) as u32,
            ..VadOptions::default()
        };
        let mut last = 0;
        for span in speech_spans(&heard, &options) {
            assert!(
                span.start >= last && span.end >= span.start,
                "{round}: {span:?}"
            );
            assert!(span.end <= samples, "{round}: {span:?} of {samples}");
            last = span.end;
        }
    }
}
