//! Recordings that go on where their headers say that they end: joined files, counts that are too
//! small, comments of wrong length.

use crate::containers::{golden, heard, id3, samples};

#[test]
fn joined_recordings_are_heard_to_the_end() {
    let cases = [
        ["stereo.mp3", "stereo.mp3"],
        ["stereo.mp3", "plain.mp3"],
        ["plain.mp3", "stereo.mp3"],
        ["stereo.flac", "stereo.flac"],
        ["speech.opus", "music.opus"],
        ["vorbis.ogg", "speech.opus"],
        ["opus.webm", "opus.webm"],
        ["aac.mkv", "aac.mkv"],
    ];
    for [first, second] in cases {
        let expected = samples(golden(first)).len() + samples(golden(second)).len();
        let (samples, info) = heard([golden(first), golden(second)].concat());
        let off = samples.len().abs_diff(expected);
        assert!(
            off < 1_300,
            "{first}, {second}: {} of {expected}",
            samples.len()
        );
        assert!(
            info.warnings.is_empty(),
            "{first}, {second}: {:?}",
            info.warnings
        );
    }
}

/// What an Ogg page's checksum is made with.
pub const OGG_CRC: u32 = 0x04c1_1db7;

/// A checksum of `bits` bits, highest first, from zero.
pub fn crc(bytes: &[u8], bits: u32, polynomial: u32) -> u32 {
    let (top, polynomial) = (1u64 << (bits - 1), u64::from(polynomial));
    let sum = bytes.iter().fold(0u64, |crc, byte| {
        (0..8).fold(crc ^ (u64::from(*byte) << (bits - 8)), |crc, _| {
            let next = crc << 1;
            let next = if crc & top != 0 {
                next ^ polynomial
            } else {
                next
            };
            next & ((top << 1) - 1)
        })
    });
    sum as u32
}

/// A FLAC file of another rate and its samples, made of frames that hold their values as they are:
/// a constant block of 192 values, whose frame's checksums are right.
fn flac_of_constants(values: &[u16]) -> Vec<u8> {
    let frames: Vec<[u16; 1]> = values.iter().map(|value| [*value]).collect();
    flac_of_frames(&frames)
}

/// The same with the value of each channel in each frame.
pub fn flac_of_frames<const N: usize>(frames: &[[u16; N]]) -> Vec<u8> {
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    file.extend([0, 192, 0, 192, 0, 0, 0, 0, 0, 0]);
    let others = N as u8 - 1;
    // 8,000 Hz, 16 bits, no count.
    file.extend([0x01, 0xf4, others << 1, 0xf0, 0, 0, 0, 0]);
    file.extend([0; 16]);
    for (number, values) in frames.iter().enumerate() {
        let mut frame = vec![0xff, 0xf8, 0x14, others << 4 | 0x08, number as u8];
        frame.push(crc(&frame, 8, 0x07) as u8);
        for value in values {
            frame.push(0);
            frame.extend(value.to_be_bytes());
        }
        let check = crc(&frame, 16, 0x8005) as u16;
        frame.extend(check.to_be_bytes());
        file.extend(frame);
    }
    file
}

#[test]
fn joined_flac_files_keep_every_sample() {
    let one = samples(golden("stereo.flac"));
    let front = flac_of_constants(&[9_000; 20]);
    let low = samples(front.clone());
    assert_eq!(low.len(), 20 * 192 * 2);
    let joined = |files: &[&[u8]]| samples(files.concat());
    let whole = golden("stereo.flac");
    // One filter runs over files of the same rate: they meet without a seam.
    let is_twice = |both: &[f32]| {
        let energy = |samples: &[f32]| samples.iter().map(|x| f64::from(x * x)).sum::<f64>();
        let before = one.len() - 100;
        both[..before] == one[..before]
            && both.len().abs_diff(2 * one.len()) <= 1
            && (energy(both) / energy(&one) - 2.0).abs() < 0.01
    };
    assert!(is_twice(&joined(&[&whole, &whole])));
    assert!(is_twice(&joined(&[&whole, &id3("second"), &whole])));
    // A tag is no part of the last frame, at the end either.
    let mut last = b"TAG".to_vec();
    last.resize(128, b' ');
    assert!(samples([&whole[..], &last].concat()) == one);
    assert!(samples([&whole[..], &id3("end")].concat()) == one);
    assert!(is_twice(&joined(&[&whole, &last, &whole, &id3("end")])));
    // The rate and the channels change with the description.
    let seamed = joined(&[&front, &whole, &front]);
    assert!(seamed == [&low[..], &one, &low].concat());
    // A piece without a frame between two others is told, and passed.
    let (samples, info) = heard([&whole[..], &flac_of_constants(&[]), &whole].concat());
    assert!(is_twice(&samples));
    assert_eq!(info.warnings.len(), 1, "{:?}", info.warnings);
}

/// Changes the bytes behind `OpusTags` in the n-th such page and mends its checksum.
fn with_comments(mut file: Vec<u8>, n: usize, bytes: &[u8]) -> Vec<u8> {
    let tags = |file: &[u8]| {
        let found = file.windows(8).enumerate();
        let found = found.filter(|(_, bytes)| bytes == b"OpusTags");
        found.map(|(at, _)| at).nth(n).unwrap()
    };
    let at = tags(&file);
    file[at + 8..at + 8 + bytes.len()].copy_from_slice(bytes);
    let begin = file[..at].windows(4).rposition(|b| b == b"OggS").unwrap();
    let segments = usize::from(file[begin + 26]);
    let body: usize = file[begin + 27..][..segments]
        .iter()
        .map(|len| usize::from(*len))
        .sum();
    let page = begin..begin + 27 + segments + body;
    file[begin + 22..begin + 26].fill(0);
    let sum = crc(&file[page], 32, OGG_CRC);
    file[begin + 22..begin + 26].copy_from_slice(&sum.to_le_bytes());
    file
}

#[test]
fn comments_that_lie_refuse_no_opus_file() {
    let expected = samples(golden("speech.opus"));
    for lie in [[0xff, 0xff, 0, 0], [0xff; 4], [1, 0, 0, 0], [0; 4]] {
        assert!(samples(with_comments(golden("speech.opus"), 0, &lie)) == expected);
    }
    let mut unmended = golden("speech.opus");
    let at = unmended.windows(8).position(|b| b == b"OpusTags").unwrap();
    unmended[at + 8..at + 12].fill(0x7f);
    assert!(samples(unmended) == expected);
    let twice = [golden("speech.opus"), golden("speech.opus")].concat();
    let whole = samples(twice.clone());
    assert!(whole.len() > expected.len() * 2 - 1_300);
    assert!(samples(with_comments(twice, 1, &[0xff; 4])) == whole);
}

#[test]
fn a_count_in_a_header_is_not_the_end() {
    let whole = samples(golden("stereo.mp3"));
    let mut short = golden("stereo.mp3");
    let count = short
        .windows(4)
        .position(|b| b == b"Xing" || b == b"Info")
        .unwrap()
        + 8;
    short[count..count + 4].copy_from_slice(&3u32.to_be_bytes());
    assert!(samples(short).len() >= whole.len());
    let mut flac = golden("stereo.flac");
    flac[21] &= 0xf0;
    flac[22..26].copy_from_slice(&1_000u32.to_be_bytes());
    assert!(samples(flac) == samples(golden("stereo.flac")));
}

#[test]
fn a_lost_flac_frame_is_told() {
    let mut file = flac_of_constants(&[1_000, 2_000, 3_000, 4_000]);
    let frame = (file.len() - 42) / 4;
    assert_eq!(samples(file.clone()).len(), 4 * 192 * 2);
    file[42 + frame + 8] ^= 1;
    let (rest, info) = heard(file);
    assert_eq!(rest.len(), 3 * 192 * 2);
    let told = "1 damaged packets skipped (0.02 s are missing at 0.02 s)";
    assert_eq!(info.warnings, [told]);
}

#[test]
fn joined_wav_files_of_one_format_are_heard_whole() {
    let file = golden("s16.wav");
    let whole = samples(file.clone());
    let joined = samples([file.clone(), file.clone(), file.clone()].concat());
    assert!(joined == whole.repeat(3));
    let (first, info) = heard([file, golden("u8.wav")].concat());
    assert!(first == whole);
    let told = "a wav file of another format is joined to its end and is not heard";
    assert_eq!(info.warnings, [told]);
}

#[test]
fn what_is_joined_to_an_mp4_is_told() {
    let file = golden("aac.m4a");
    let (whole, info) = heard(file.clone());
    assert_eq!(info.warnings, [""; 0]);
    let (first, info) = heard([file.clone(), file].concat());
    assert!(first == whole);
    assert!(
        info.warnings.iter().any(|w| w.contains("is not heard")),
        "{:?}",
        info.warnings
    );
}
