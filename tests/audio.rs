//! Every container and codec, broken files, and the recordings that are kept outside.

use std::f64::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};

use undertone::internals::audio::{self, AudioStream, Limits};

use undertone::internals::mel::MelExtractor;
use undertone::{Error, Input, Result};

use crate::support;

/// What a sample must decode to: its container, codec, samples at 16 kHz as ffmpeg counts them (it
/// drops 46 of vorbis.ogg), samples by which the tone comes late (encoder priming that the container
/// does not mark), and the least signal-to-noise ratio against the tone in dB.
type Case = (&'static str, &'static str, &'static str, usize, i64, f64);

const SAMPLES: [Case; 31] = [
    ("s16.wav", "wave", "pcm_s16le", 6400, 0, 60.0),
    ("u8.wav", "wave", "pcm_u8", 6400, 0, 30.0),
    ("s24.wav", "wave", "pcm_s24le", 6400, 0, 60.0),
    ("s32.wav", "wave", "pcm_s32le", 6400, 0, 60.0),
    ("f32.wav", "wave", "pcm_f32le", 6400, 0, 60.0),
    ("f64.wav", "wave", "pcm_f64le", 6400, 0, 60.0),
    ("alaw.wav", "wave", "pcm_alaw", 6400, 0, 30.0),
    ("mulaw.wav", "wave", "pcm_mulaw", 6400, 0, 30.0),
    ("rf64.wav", "wave", "pcm_s16le", 6400, 0, 60.0),
    ("ima.wav", "wave", "adpcm_ima_wav", 6642, 0, 30.0),
    ("stereo.flac", "flac", "flac", 6400, 0, 60.0),
    ("flac.ogg", "ogg", "flac", 6400, 0, 60.0),
    ("flac.mkv", "matroska", "flac", 6400, 0, 60.0),
    ("stereo.mp3", "mp3", "mp3", 6400, 0, 20.0),
    ("plain.mp3", "mp3", "mp3", 7524, 802, 20.0),
    ("layer2.mp2", "mp2", "mp2", 6688, 175, 15.0),
    ("vorbis.ogg", "ogg", "vorbis", 6400, 0, 20.0),
    ("vorbis.webm", "matroska", "vorbis", 6677, 0, 20.0),
    ("speech.opus", "ogg", "opus", 6400, 0, 12.0),
    ("music.opus", "ogg", "opus", 6400, 0, 12.0),
    ("opus.webm", "matroska", "opus", 6400, 0, 15.0),
    ("opus.mp4", "isomp4", "opus", 6616, 0, 15.0),
    ("aac.m4a", "isomp4", "AAC (LC)", 6688, 0, 8.0),
    ("aac.mov", "isomp4", "AAC (LC)", 6485, 0, 8.0),
    ("aac.mkv", "matroska", "AAC (LC)", 7059, 372, 8.0),
    ("aac.aac", "aac", "AAC", 7059, 372, 8.0),
    ("video.mp4", "isomp4", "AAC (LC)", 6688, 0, 8.0),
    ("alac.m4a", "isomp4", "alac", 6400, 0, 60.0),
    ("alac.caf", "caf", "alac", 6400, 0, 60.0),
    ("pcm.caf", "caf", "pcm_s16le", 6400, 0, 60.0),
    ("pcm.aiff", "aiff", "pcm_s16be", 6400, 0, 60.0),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/audio")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(golden(name)).unwrap()
}

fn decode(input: impl Into<Input>) -> Result<(Vec<f32>, AudioStream)> {
    let mut stream = audio::open(input, &Limits::default())?;
    let samples = stream.read_to_end()?;
    Ok((samples, stream))
}

/// The tone of `tests/golden/audio/make.sh`, folded to mono, at a sample of the 16 kHz grid.
fn tone(at: i64) -> f64 {
    let t = at as f64 / 16_000.0;
    if (0.0..0.4).contains(&t) {
        0.3 * (2.0 * PI * (300.0 * t + 1000.0 * t * t)).sin()
    } else {
        0.0
    }
}

/// Signal-to-noise ratio in dB against the tone `late` samples late, edges left out.
fn snr_db(samples: &[f32], late: i64) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for (at, &x) in samples
        .iter()
        .enumerate()
        .skip(late as usize + 400)
        .take(5_600)
    {
        let expected = tone(at as i64 - late);
        signal += expected * expected;
        noise += (f64::from(x) - expected).powi(2);
    }
    10.0 * (signal / noise.max(1e-12)).log10()
}

#[test]
fn every_container_and_codec() {
    let mut failures = Vec::new();
    for (name, container, codec, len, late, least_db) in SAMPLES {
        match decode(golden(name)) {
            Err(error) => failures.push(format!("{name}: {error}")),
            Ok((samples, stream)) => {
                let info = stream.info();
                let got = (info.container.as_str(), info.codec.as_str(), samples.len());
                if got != (container, codec, len) {
                    failures.push(format!("{name}: {got:?}"));
                }
                let snr_db = snr_db(&samples, late);
                let best = (late.max(4) - 4..late + 5)
                    .map(|late| self::snr_db(&samples, late))
                    .fold(snr_db, f64::max);
                if snr_db < least_db || best > snr_db {
                    failures.push(format!("{name}: {snr_db:.1} dB, {best:.1} dB near by"));
                }
                if !info.warnings.is_empty() {
                    failures.push(format!("{name}: {:?}", info.warnings));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let mut failures = Vec::new();
    let cases = [
        ("video_only.mp4", "no audio track"),
        ("surround.m4a", "AAC (LC, 5.1)"),
        ("ac3.mkv", "AC-3"),
        ("make.sh", "no audio file"),
        ("missing.wav", "cannot be read"),
        ("", "folder"),
    ];
    for (name, expected) in cases {
        let path = golden(name);
        match audio::open(&path, &Limits::default()) {
            Ok(_) => failures.push(format!("{name}: opened")),
            Err(error) => {
                let message = error.to_string();
                if !(message.contains(expected) && message.starts_with(path.to_str().unwrap())) {
                    failures.push(format!("{name}: {message}"));
                }
            }
        }
    }
    assert!(matches!(
        audio::open(Vec::<u8>::new(), &Limits::default()),
        Err(Error::Input { .. })
    ));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn path_bytes_and_reader_give_the_same() {
    for name in ["stereo.flac", "aac.m4a", "speech.opus"] {
        let (by_path, _) = decode(golden(name)).unwrap();
        let (by_bytes, _) = decode(bytes(name)).unwrap();
        let reader = Input::reader("a pipe", std::io::Cursor::new(bytes(name)));
        let (by_reader, stream) = decode(reader).unwrap();
        assert!(by_path == by_bytes && by_path == by_reader, "{name}");
        assert_eq!(stream.info().name, "a pipe");
    }
}

#[test]
fn samples_are_taken_as_they_are() {
    let samples: Vec<f32> = (0..40_000).map(|n| tone(n) as f32 + 1e-6).collect();
    assert!(decode(samples.clone()).unwrap().0 == samples);
    let (resampled, _) = decode(Input::samples(samples, 48_000)).unwrap();
    assert_eq!(resampled.len(), 13_333);
    assert!(decode(Input::samples(vec![0.0; 10], 0)).is_err());
    assert!(decode(Vec::<f32>::new()).is_ok_and(|(samples, _)| samples.is_empty()));
    let (cleaned, _) = decode(vec![f32::NAN, f32::INFINITY, 0.5]).unwrap();
    assert_eq!(cleaned, [0.0, 0.0, 0.5]);
}

/// A 16-bit wav header at 16 kHz that promises `promised` bytes.
fn wav(channels: u16, rate: u32, promised: u32, samples: &[i16]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.wrapping_mul(2 * u32::from(channels)).to_le_bytes());
    file.extend(channels.wrapping_mul(2).to_le_bytes());
    file.extend(b"\x10\0data");
    file.extend(promised.to_le_bytes());
    file.extend(samples.iter().flat_map(|x| x.to_le_bytes()));
    file
}

#[test]
fn wav_headers_that_lie() {
    let samples: Vec<i16> = (0..16_000).map(|n| (tone(n) * 32_767.0) as i16).collect();
    let exact: Vec<f32> = samples.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    for promised in [0, 32_000, 0xffff_ffff, 0x7fff_ffff] {
        let (heard, _) = decode(wav(1, 16_000, promised, &samples)).unwrap();
        assert!(
            heard == exact,
            "{promised} bytes promised: {} heard",
            heard.len()
        );
    }
    let (heard, stream) = decode(wav(1, 16_000, 320_000, &samples)).unwrap();
    assert!(heard == exact);
    assert_eq!(
        stream.info().warnings,
        ["truncated: the header promises 10.0 s, 1.0 s are there"]
    );
    assert!(decode(wav(1, 16_000, 32_000, &[])).is_err());
    let (one, _) = decode(wav(1, 16_000, 2, &[77])).unwrap();
    assert_eq!(one.len(), 1);
    for (channels, rate) in [
        (0, 16_000),
        (65_535, 16_000),
        (1, 0),
        (1, 1_000_000_000),
        (33, 8_000),
    ] {
        assert!(
            decode(wav(channels, rate, 2_000, &samples)).is_err(),
            "{channels}, {rate}"
        );
    }
}

#[test]
fn limits_are_kept() {
    let is_refused = |limits: Limits| {
        audio::open(golden("s16.wav"), &limits)
            .and_then(|mut stream| stream.read_to_end())
            .is_err()
    };
    assert!(is_refused(Limits {
        max_bytes: Some(1_000),
        ..Limits::default()
    }));
    assert!(is_refused(Limits {
        max_seconds: Some(0.1),
        ..Limits::default()
    }));
    assert!(!is_refused(Limits {
        max_bytes: Some(1 << 20),
        max_seconds: Some(1.0)
    }));
}

#[test]
fn a_damaged_middle_is_skipped() {
    let mut failures = Vec::new();
    for name in ["stereo.flac", "stereo.mp3", "aac.m4a", "s16.wav"] {
        let mut file = bytes(name);
        let middle = file.len() / 2;
        file[middle..middle + 40].fill(0x55);
        match decode(file) {
            Ok((samples, _)) if samples.len() > 1_600 => {}
            Ok((samples, _)) => failures.push(format!("{name}: {} samples", samples.len())),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Numbers that look random and are always the same.
fn numbers() -> impl FnMut() -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize
    }
}

/// Decodes damaged bytes; they may give anything but a panic that gets out, or endless audio.
fn survives(file: Vec<u8>) {
    let limits = Limits {
        max_seconds: Some(60.0),
        ..Limits::default()
    };
    if let Ok(mut stream) = audio::open(file, &limits) {
        while let Ok(Some(block)) = stream.next_block() {
            assert!(block.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
        }
    }
}

#[test]
fn truncated_and_flipped_files_never_panic() {
    // Third-party decoders may panic on them; that is caught, and its message is not wanted here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        let mut next = numbers();
        for (name, ..) in SAMPLES {
            let whole = bytes(name);
            for part in 0..12 {
                survives(whole[..whole.len() * part / 12].to_vec());
            }
            for round in 0..40 {
                let mut file = whole.clone();
                let reach = if round % 2 == 0 {
                    file.len().min(600)
                } else {
                    file.len()
                };
                for _ in 0..1 + next() % 6 {
                    file[next() % reach] = next() as u8;
                }
                survives(file);
            }
        }
    });
    std::panic::set_hook(hook);
    assert!(outcome.is_ok());
}

#[test]
fn jfk_is_heard_as_ffmpeg_hears_it_and_its_mel_is_openais() {
    let Some(folder) = support::reference() else {
        return;
    };
    for model in ["base", "tiny.en"] {
        let stored = folder.join(format!("reference/stages/jfk.{model}.safetensors"));
        let stored = fs::read(stored).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&stored).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let data = tensors.tensor(name).unwrap();
            data.data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let pcm = floats("pcm");
        let (heard, _) = decode(folder.join("audio/jfk.flac")).unwrap();
        assert_eq!(heard.len(), pcm.len());
        let error = support::largest_error(&heard, &pcm);
        assert!(error <= 1.0 / 32_768.0, "samples: {error}");
        let different = heard.iter().zip(&pcm).filter(|(a, b)| a != b).count();
        assert!(
            different < 100,
            "{different} samples differ by the last bit"
        );
        let mut extractor = MelExtractor::new(80);
        extractor.push(&pcm);
        let mel = extractor.finish();
        assert_eq!(mel.content_frames(), 1100);
        let (window, expected) = (mel.window(0).unwrap(), floats("log_mel_window"));
        let error = support::largest_error(&window, &expected);
        assert!(error < 5e-5, "{model} mel: {error}");
    }
}

#[test]
fn hostile_files_behave() {
    let Some(folder) = support::reference() else {
        return;
    };
    // Samples at 16 kHz, or none where the file must be refused.
    let cases = [
        ("zero_bytes.wav", None),
        ("text_named.wav", None),
        ("header_only.wav", None),
        ("no_audio_track.mp4", None),
        ("random_bytes.mp3", None),
        ("truncated_5s.wav", Some(80_000)),
        ("data_size_zero.wav", Some(176_000)),
        ("truncated.flac", Some(86_936)),
        ("one_sample.wav", Some(1)),
        ("jfk_8k_mulaw.wav", Some(176_000)),
        ("jfk_44k_stereo.mp3", Some(176_000)),
        ("jfk.ogg", Some(176_000)),
        ("jfk.opus", Some(176_000)),
        ("jfk.m4a", Some(176_100)),
        ("jfk.webm", Some(176_000)),
        ("jfk_48k_24bit.wav", Some(176_000)),
        ("jfk_f32.wav", Some(176_000)),
        ("jfk_u8.wav", Some(176_000)),
        ("jfk_video.mp4", Some(176_100)),
        ("stereo_left_only.wav", Some(176_000)),
        ("very_quiet.wav", Some(176_000)),
        ("dog.flac", Some(80_000)),
        ("name with spaces and ünïcode ✓.wav", Some(64_000)),
    ];
    let mut failures = Vec::new();
    for (name, expected) in cases {
        let path = folder.join("hostile").join(name);
        let heard = decode(&path).map(|(samples, _)| samples.len());
        match (&heard, expected) {
            (Ok(len), Some(expected)) if *len == expected => {}
            (Err(error), None) if error.to_string().contains(name) => {}
            _ => failures.push(format!("{name}: {heard:?}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
