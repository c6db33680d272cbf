//! Headers that say a rate or channels of 0: what the codec's own data say counts, and where it has
//! none, the fault is named.

use crate::containers::{golden, mov, refused, samples};
use crate::joined::{OGG_CRC, crc};

const RATE: &str = "a sample rate of 0 Hz makes no sense";
const CHANNELS: &str = "0 channels make no sense";

/// A file, a marker in it, where its rate stands from there on, in how many bytes, and where its channels do.
type Case = (&'static str, Vec<u8>, &'static [u8], usize, usize, usize);

/// The file with `bytes` zeros at `offset` from where `marker` first begins.
fn zeroed(mut file: Vec<u8>, marker: &[u8], offset: usize, bytes: usize) -> Vec<u8> {
    let found = file.windows(marker.len()).position(|at| at == marker);
    let at = found.expect("the marker is there") + offset;
    file[at..at + bytes].fill(0);
    file
}

#[test]
fn samples_without_a_rate_or_channels_are_refused_by_name() {
    let pcm: Vec<u8> = (0..8_000i16).flat_map(i16::to_be_bytes).collect();
    let film = mov(b"twos", 16, b"", &pcm, &[]);
    let cases: [Case; 6] = [
        ("wav", golden("s16.wav"), b"fmt ", 12, 4, 10),
        ("A-law", golden("alaw.wav"), b"fmt ", 12, 4, 10),
        ("ADPCM", golden("ima.wav"), b"fmt ", 12, 4, 10),
        ("aiff", golden("pcm.aiff"), b"COMM", 16, 10, 8),
        ("caf", golden("pcm.caf"), b"desc", 12, 8, 36),
        ("mov", film, b"twos", 28, 2, 20),
    ];
    for (name, file, marker, rate, rate_bytes, channels) in cases {
        let message = refused(zeroed(file.clone(), marker, rate, rate_bytes));
        assert!(message.contains(RATE), "{name}: {message}");
        let count = if name == "caf" { 4 } else { 2 };
        let message = refused(zeroed(file, marker, channels, count));
        assert!(message.contains(CHANNELS), "{name}: {message}");
    }
}

#[test]
fn what_the_codec_says_itself_counts() {
    // Where the rate and the channels stand behind a marker, and their bytes.
    let mp4 = |format| (format, (28, 2), (20, 2));
    let (rate, one) = (b"\xb5\x88".as_slice(), b"\x9f\x81\x01\xb5".as_slice());
    let cases = [
        ("aac.m4a", mp4(b"mp4a".as_slice())),
        ("alac.m4a", mp4(b"alac")),
        ("opus.mp4", mp4(b"Opus")),
        ("aac.mkv", (rate, (2, 8), (0, 0))),
        ("flac.mkv", (rate, (2, 8), (0, 0))),
        ("opus.webm", (rate, (2, 8), (0, 0))),
        ("vorbis.webm", (rate, (2, 8), (0, 0))),
        ("aac.mkv", (one, (2, 1), (0, 0))),
        ("flac.mkv", (one, (2, 1), (0, 0))),
        ("opus.webm", (b"\x9f\x81\x02\xb5", (2, 1), (0, 0))),
        ("vorbis.webm", (one, (2, 1), (0, 0))),
        ("alac.caf", (b"desc", (12, 8), (36, 4))),
    ];
    for (name, (marker, rate, channels)) in cases {
        let whole = samples(golden(name));
        for (offset, bytes) in [rate, channels] {
            let heard = samples(zeroed(golden(name), marker, offset, bytes));
            assert!(heard == whole, "{name}: {} of {}", heard.len(), whole.len());
        }
    }
}

#[test]
fn codecs_whose_own_data_say_0_are_refused() {
    let flac = refused(zeroed(golden("stereo.flac"), b"fLaC", 18, 3));
    assert!(flac.contains(RATE), "{flac}");
    for (offset, bytes, fault) in [(12, 4, RATE), (11, 1, CHANNELS)] {
        let mut ogg = zeroed(golden("vorbis.ogg"), b"\x01vorbis", offset, bytes);
        ogg[22..26].fill(0);
        let sum = crc(&ogg[..58], 32, OGG_CRC).to_le_bytes();
        ogg[22..26].copy_from_slice(&sum);
        let message = refused(ogg);
        assert!(
            message.contains(&format!("cannot decode Vorbis: {fault}")),
            "{message}"
        );
    }
}
