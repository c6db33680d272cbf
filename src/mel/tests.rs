//! The spectrogram against a direct transform in double precision, and against itself in pieces.

use std::f64::consts::PI;

use super::{LogMel, MelExtractor, from_blocks, log_mel_of_clip, mel_filterbank};
use crate::comparison::worst;
use crate::dims::{HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES, SAMPLE_RATE};

/// A rising tone with an overtone: `seconds` of it.
fn chirp(seconds: f64) -> Vec<f32> {
    let at = |n: usize| {
        let t = n as f64 / SAMPLE_RATE as f64;
        let phase = 2.0 * PI * (200.0 * t + 300.0 * t * t);
        (0.4 * phase.sin() + 0.05 * (7.3 * phase).sin()) as f32
    };
    (0..(seconds * SAMPLE_RATE as f64) as usize)
        .map(at)
        .collect()
}

fn whole(samples: &[f32], n_mels: usize) -> LogMel {
    let mut extractor = MelExtractor::new(n_mels);
    extractor.push(samples);
    extractor.finish()
}

/// Log energies of one frame by the definition: no fast transform, no sparse filters.
fn direct_frame(samples: &[f32], frame: usize, n_mels: usize) -> Vec<f64> {
    let at = |n: i64| {
        let n = n.unsigned_abs() as usize;
        f64::from(samples.get(n).copied().unwrap_or(0.0))
    };
    let first = (frame * HOP_LENGTH) as i64 - (N_FFT / 2) as i64;
    let turn = |k: usize, n: usize| 2.0 * PI * (k * n % N_FFT) as f64 / N_FFT as f64;
    let windowed: Vec<f64> = (0..N_FFT)
        .map(|n| at(first + n as i64) * (0.5 - 0.5 * turn(1, n).cos()))
        .collect();
    let power: Vec<f64> = (0..=N_FFT / 2)
        .map(|k| {
            let sum = |f: fn(f64) -> f64| -> f64 {
                windowed
                    .iter()
                    .enumerate()
                    .map(|(n, x)| x * f(turn(k, n)))
                    .sum()
            };
            sum(f64::cos).powi(2) + sum(f64::sin).powi(2)
        })
        .collect();
    mel_filterbank(n_mels)
        .chunks_exact(N_FFT / 2 + 1)
        .map(|row| {
            row.iter()
                .zip(&power)
                .map(|(w, p)| f64::from(*w) * p)
                .sum::<f64>()
        })
        .map(|energy| energy.max(1e-10).log10())
        .collect()
}

#[test]
fn agrees_with_a_direct_transform() {
    let samples = chirp(0.5);
    for n_mels in [80, 128] {
        let frames: Vec<Vec<f64>> = (0..56).map(|t| direct_frame(&samples, t, n_mels)).collect();
        let max = frames.iter().flatten().copied().fold(-10.0, f64::max);
        let detection = whole(&samples, n_mels)
            .detection_window(0..N_FRAMES)
            .unwrap();
        let error = |t: usize, mel: usize, log: f64| {
            let expected = (log.max(max - 8.0) + 4.0) / 4.0;
            (f64::from(detection[mel * N_FRAMES + t]) - expected).abs()
        };
        let of_frame = |(t, frame): (usize, &Vec<f64>)| {
            worst(
                frame
                    .iter()
                    .enumerate()
                    .map(|(mel, &log)| error(t, mel, log)),
            )
        };
        let worst = worst(frames.iter().enumerate().map(of_frame));
        assert!(worst < 5e-5, "{n_mels} bins: off by {worst}");
    }
}

#[test]
fn filters_are_slaneys() {
    // (bins, mel bin, STFT bin, weight), to the digits that librosa prints.
    let known = [
        (80, 0, 1, 0.024_862_59),
        (80, 1, 1, 0.001_990_82),
        (80, 79, 198, 0.000_897_518),
        (128, 0, 1, 0.012_373_98),
        (128, 127, 198, 0.002_228_56),
    ];
    let mut failures = Vec::new();
    for (n_mels, mel, bin, weight) in known {
        let actual = mel_filterbank(n_mels)[mel * 201 + bin];
        if (actual - weight).abs() > 1e-7 {
            failures.push(format!(
                "{n_mels} bins, ({mel}, {bin}): {actual} instead of {weight}"
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn chunking_changes_nothing() {
    let samples = chirp(2.03);
    let expected = whole(&samples, 80);
    for size in [1, 159, 160, 399, 5_000, 40_000] {
        let mut extractor = MelExtractor::new(80);
        samples.chunks(size).for_each(|piece| extractor.push(piece));
        let same = values(&extractor.finish()) == values(&expected);
        assert!(same, "in pieces of {size}");
    }
}

#[test]
fn blocks_from_another_thread_give_the_same() {
    let samples = chirp(1.0);
    let (mut pieces, mut heard) = (samples.chunks(700), 0);
    let next = |block: &mut Vec<f32>| {
        let piece = pieces.next();
        block.clear();
        block.extend_from_slice(piece.unwrap_or_default());
        Ok(piece.is_some())
    };
    let mel = from_blocks(80, next, |samples| heard = samples).unwrap();
    assert_eq!(heard, samples.len());
    assert!(values(&mel) == values(&whole(&samples, 80)));
}

#[test]
fn frames_in_a_file_are_the_same_frames() {
    let samples = chirp(40.0);
    let mut extractor = MelExtractor::new(80);
    for piece in samples.chunks(5_000) {
        extractor.push(piece);
        extractor.spill(Some(100 * 80)).unwrap();
    }
    let (long, short) = (extractor.finish(), whole(&samples, 80));
    let kept = [3000..3990, 5..900, 3995..4100];
    let muted = [100..150, 2000..3500];
    assert!(values(&long) == values(&short));
    let [long_kept, short_kept] = [&long, &short].map(|mel| mel.clone().keep(&kept).unwrap());
    assert!(values(&long_kept) == values(&short_kept));
    // What is left of what is left.
    let again = |mel: LogMel| values(&mel.keep(&[900..1100, 10..20]).unwrap());
    assert!(again(long_kept) == again(short_kept));
    let [long, short] = [long, short].map(|mel| mel.mute_but(&muted).unwrap());
    assert!(values(&long) == values(&short));
}

/// All that a spectrogram says.
fn values(mel: &LogMel) -> (usize, Vec<f32>, Vec<f32>) {
    let mut all = mel.loudness().unwrap();
    for seek in (0..mel.content_frames()).step_by(1990) {
        all.extend(mel.window(seek).unwrap());
    }
    let detection = mel.detection_window(0..N_FRAMES).unwrap();
    (mel.content_frames(), all, detection)
}

#[test]
fn an_error_between_blocks_is_handed_on() {
    let next = |_: &mut Vec<f32>| Err(crate::error::Error::Cancelled);
    let error = from_blocks(80, next, |_| ()).unwrap_err();
    assert!(matches!(error, crate::error::Error::Cancelled));
}

#[test]
fn windows_are_cut_at_the_end_of_the_recording() {
    let samples = chirp(1.0);
    let mel = whole(&samples, 80);
    assert_eq!(mel.content_frames(), 100);
    let detection = mel.detection_window(0..N_FRAMES).unwrap();
    let window = mel.window(0).unwrap();
    let later = mel.window(60).unwrap();
    let mut early = vec![9.0; 80 * N_FRAMES];
    mel.write_window(60, 10, &mut early).unwrap();
    let silence = detection[N_FRAMES - 1];
    for bin in 0..80 {
        let row = |w: &[f32]| w[bin * N_FRAMES..][..N_FRAMES].to_vec();
        assert_eq!(row(&window)[..100], row(&detection)[..100]);
        assert!(row(&window)[100..].iter().all(|&x| x == 0.0));
        assert!(row(&detection)[102..].iter().all(|&x| x == silence));
        assert_eq!(row(&later)[..40], row(&window)[60..100]);
        assert!(row(&later)[40..].iter().all(|&x| x == 0.0));
        assert_eq!(row(&early)[..10], row(&window)[60..70]);
        assert!(row(&early)[10..].iter().all(|&x| x == 0.0));
    }
    assert!(
        mel.window(100)
            .unwrap()
            .iter()
            .chain(&mel.window(5_000).unwrap())
            .all(|&x| x == 0.0)
    );
}

#[test]
fn nothing_and_silence_are_at_the_floor() {
    for samples in [vec![], vec![0.0; 1], vec![0.0; 4_000]] {
        let mel = whole(&samples, 80);
        assert_eq!(mel.content_frames(), samples.len() / HOP_LENGTH);
        let window = mel.detection_window(0..N_FRAMES).unwrap();
        assert!(window.iter().all(|&x| x == -1.5));
    }
}

#[test]
fn a_full_clip_is_reflected_at_its_end() {
    let samples = chirp(31.0);
    let clip = log_mel_of_clip(&samples, 80).unwrap();
    let mut reflected = samples[..N_SAMPLES].to_vec();
    reflected.extend((1..=200).map(|n| samples[N_SAMPLES - 1 - n]));
    let last = direct_frame(&reflected, N_FRAMES - 1, 80);
    // The ratio between two values of one frame does not depend on the maximum.
    let differences = last
        .windows(2)
        .zip(0..79)
        .filter(|(w, _)| w[0] > -3.0 && w[1] > -3.0);
    let mut compared = 0;
    for (pair, mel) in differences {
        let value = |mel: usize| f64::from(clip[mel * N_FRAMES + N_FRAMES - 1]) * 4.0;
        assert!(
            (value(mel + 1) - value(mel) - (pair[1] - pair[0])).abs() < 1e-3,
            "{mel}"
        );
        compared += 1;
    }
    assert!(compared > 3);
    let short = chirp(1.0);
    assert_eq!(
        log_mel_of_clip(&short, 80).unwrap(),
        whole(&short, 80).detection_window(0..N_FRAMES).unwrap()
    );
}

#[test]
fn what_is_kept_sounds_as_it_did() {
    let samples = chirp(3.0);
    let mel = whole(&samples, 80);
    let kept = mel.clone().keep(&[100..150, 250..400, 20..30]).unwrap();
    assert_eq!(kept.content_frames(), 210);
    let (all, part) = (mel.window(0).unwrap(), kept.window(0).unwrap());
    let row = |window: &[f32], frame: usize| window[40 * 3000 + frame];
    // Behind the recording there is silence; the chirp is as loud everywhere, so that the cut is the same.
    let places = [
        (0, 100),
        (49, 149),
        (50, 250),
        (99, 299),
        (200, 20),
        (209, 29),
    ];
    for (new, old) in places {
        let (new, old) = (row(&part, new), row(&all, old));
        assert!((new - old).abs() < 0.05, "{new} {old}");
    }
    let none = mel.clone().keep(&[]).unwrap();
    assert_eq!((row(&part, 210), none.content_frames()), (0.0, 0));
    let muted = mel.mute_but(std::slice::from_ref(&(100..150))).unwrap();
    let heard = muted.window(0).unwrap();
    assert!((row(&heard, 120) - row(&all, 120)).abs() < 0.05);
    let silent = row(&heard, 0);
    assert!(
        [50, 99, 150, 299]
            .iter()
            .all(|frame| row(&heard, *frame) == silent)
    );
}

#[test]
fn a_piece_has_silence_behind_it() {
    let mel = whole(&chirp(3.0), 80);
    let (piece, all) = (
        mel.detection_window(100..200).unwrap(),
        mel.detection_window(100..N_FRAMES).unwrap(),
    );
    for row in 0..80 {
        let (piece, all) = (&piece[row * 3000..][..3000], &all[row * 3000..][..3000]);
        assert_eq!(piece[..100], all[..100]);
        assert!(piece[100..].iter().all(|x| *x == all[2999]));
    }
}
