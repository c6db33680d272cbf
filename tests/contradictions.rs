//! Files whose parts contradict one another: what is there counts, and nothing is lost without a word.

use undertone::internals::audio::{self, AudioOptions};

use crate::containers::{golden, heard, mov, refused, samples};
use crate::joined::{OGG_CRC, crc, flac_of_frames};

/// The whole packets of an Ogg file, and the number of its stream.
fn packets(file: &[u8]) -> (Vec<Vec<u8>>, u32) {
    let serial = u32::from_le_bytes(file[14..18].try_into().unwrap());
    let (mut packets, mut packet, mut rest) = (Vec::new(), Vec::new(), file);
    while !rest.is_empty() {
        let count = usize::from(rest[26]);
        let mut body = &rest[27 + count..];
        for len in &rest[27..27 + count] {
            packet.extend(&body[..usize::from(*len)]);
            body = &body[usize::from(*len)..];
            if *len < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    (packets, serial)
}

fn page(packets: &[Vec<u8>], flags: u8, position: u64, serial: u32, number: u32) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(position.to_le_bytes());
    page.extend(serial.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    let lens: Vec<u8> = packets
        .iter()
        .flat_map(|packet| {
            let mut lens = vec![255; packet.len() / 255];
            lens.push((packet.len() % 255) as u8);
            lens
        })
        .collect();
    page.push(u8::try_from(lens.len()).unwrap());
    page.extend(lens);
    page.extend(packets.concat());
    let sum = crc(&page, 32, OGG_CRC).to_le_bytes();
    page[22..26].copy_from_slice(&sum);
    page
}

/// A file in pages of `each` packets of sound, which end where `position` says of their number.
fn paged(name: &str, each: usize, position: impl Fn(u64) -> u64) -> Vec<Vec<u8>> {
    let (packets, serial) = packets(&golden(name));
    let headers = if name == "vorbis.ogg" { 3 } else { 2 };
    let (head, sound) = packets.split_at(headers);
    let mut pages = vec![page(&head[..1], 2, 0, serial, 0)];
    pages.push(page(&head[1..], 0, 0, serial, 1));
    let count = sound.chunks(each).count();
    for (at, packets) in sound.chunks(each).enumerate() {
        let flags = if at + 1 == count { 4 } else { 0 };
        let (at, number) = (position(at as u64), at as u32 + 2);
        pages.push(page(packets, flags, at, serial, number));
    }
    pages
}

const OGG: [&str; 3] = ["speech.opus", "vorbis.ogg", "flac.ogg"];

#[test]
fn positions_that_make_no_sense_cut_nothing() {
    type Position = fn(u64) -> u64;
    let cases: [(&str, Position); 5] = [
        ("all zero", |_| 0),
        ("none", |_| u64::MAX),
        ("back", |page| 3_000 - page * 5),
        ("too slow", |page| 1_000 + page),
        ("none but in the middle", |page| {
            if page == 1 { 9_000 } else { u64::MAX }
        }),
    ];
    for name in OGG {
        let whole = samples(golden(name));
        for (case, position) in cases {
            // A page that is the only one may say that its end is padding.
            let is_none = [0, u64::MAX].contains(&position(0));
            for each in [2, 100].into_iter().filter(|each| *each == 2 || is_none) {
                let (samples, info) = heard(paged(name, each, position).concat());
                assert_eq!(info.warnings, [""; 0], "{name} {case}");
                // Padding is heard where no position says that it is some.
                let sure = whole.len() - 100;
                assert!(
                    samples.len() >= sure,
                    "{name} {case} {each}: {}",
                    samples.len()
                );
                assert!(samples[..sure] == whole[..sure], "{name} {case} {each}");
                assert!(samples.len() < whole.len() + 1_000, "{name} {case} {each}");
            }
        }
    }
}

#[test]
fn what_stands_in_front_of_the_first_page_is_passed_over() {
    for name in OGG {
        let whole = samples(golden(name));
        let junk: Vec<u8> = (0..500u32).map(|x| (x * x / 8) as u8).collect();
        let false_page = [b"xOggS\0\x02", &[1; 300][..]].concat();
        for front in [junk, vec![0; 100_000], false_page] {
            assert!(heard([front, golden(name)].concat()).0 == whole, "{name}");
        }
    }
}

#[test]
fn a_last_page_that_ends_before_it_begins_is_heard() {
    for name in OGG {
        let whole = samples(golden(name));
        let last = |end: u64| {
            let count = paged(name, 4, |_| 0).len() as u64 - 2;
            move |page: u64| {
                if page + 1 == count {
                    end
                } else {
                    2_000_000 + page * 9_000
                }
            }
        };
        for end in [0, 1, 1_000_000] {
            let samples = heard(paged(name, 4, last(end)).concat()).0;
            assert!(
                samples.len() + 100 >= whole.len(),
                "{name}: {}",
                samples.len()
            );
        }
    }
}

#[test]
fn a_stream_that_goes_on_with_the_positions_of_another_is_heard() {
    for name in OGG {
        let whole = samples(golden(name));
        let mut pages = paged(name, 4, |page| 3_000 + page * 3_840);
        let again = pages[2..].to_vec();
        pages.extend(again);
        let samples = heard(pages.concat()).0;
        let off = samples.len().abs_diff(2 * whole.len());
        assert!(
            off < 1_300,
            "{name}: {} of {}",
            samples.len(),
            2 * whole.len()
        );
    }
}

#[test]
fn damaged_pages_are_told() {
    for name in OGG {
        let mut pages = paged(name, 2, |page| 3_000 + page * 1_920);
        let damaged = pages[3].len() - 3;
        pages[3][damaged] ^= 0x55;
        let at = pages[..3].concat().len();
        let warnings = heard(pages.concat()).1.warnings;
        let told = format!("the checksum of the page at byte {at} is wrong");
        assert!(
            warnings.iter().any(|w| w.contains(&told)),
            "{name}: {warnings:?}"
        );
    }
}

/// A file whose first page holds another header.
fn with_head(name: &str, head: Vec<u8>) -> Vec<u8> {
    let (packets, serial) = packets(&golden(name));
    let first = page(&packets[..1], 2, 0, serial, 0).len();
    let rest = golden(name)[first..].to_vec();
    [page(&[head], 2, 0, serial, 0), rest].concat()
}

#[test]
fn opus_without_places_is_heard() {
    let (packets, _) = packets(&golden("speech.opus"));
    let mut head = packets[0].clone();
    head[18] = 255;
    // One stream, no pair, and the channel it is.
    head.extend([1, 0, 0]);
    let whole = samples(golden("speech.opus"));
    let other = samples(with_head("speech.opus", head.clone()));
    assert_eq!(other.len(), whole.len());
    let far = other.iter().zip(&whole).map(|(a, b)| (a - b).abs());
    assert!(far.fold(0.0, f32::max) < 1e-3);
    let found = audio::probe(with_head("speech.opus", head), &AudioOptions::default()).unwrap();
    assert_eq!(found.tracks[0].codec, "opus");
}

#[test]
fn streams_that_ogg_only_carries_are_named() {
    let mut speex = b"Speex   1.2.0".to_vec();
    speex.resize(80, 0);
    let message = refused(with_head("speech.opus", speex));
    assert!(message.contains("cannot decode Speex"), "{message}");
    let (packets, _) = packets(&golden("speech.opus"));
    let with = |at: usize, byte: u8| {
        let mut head = packets[0].clone();
        head[at] = byte;
        refused(with_head("speech.opus", head))
    };
    for (message, reason) in [
        (with(9, 0), "its header names no channels"),
        (with(18, 2), "mapped in a way that is not known"),
        (with(9, 3), "too many channels"),
    ] {
        assert!(message.contains("cannot decode Opus"), "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

/// A wav file of 16 kHz with a format chunk and others.
fn wav(channels: u16, align: u16, bits: u16, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WAVEfmt \x10\0\0\0\x01\0".to_vec();
    body.extend(channels.to_le_bytes());
    body.extend(16_000u32.to_le_bytes());
    body.extend((16_000 * u32::from(align)).to_le_bytes());
    body.extend(align.to_le_bytes());
    body.extend(bits.to_le_bytes());
    for (name, bytes) in chunks {
        body.extend(*name);
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(*bytes);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

#[test]
fn every_data_chunk_of_a_wav_is_heard() {
    let bytes: Vec<u8> = (0..8_000i16).flat_map(i16::to_le_bytes).collect();
    let whole = samples(wav(1, 2, 16, &[(b"data", &bytes)]));
    let (front, back) = bytes.split_at(6_000);
    let chunks: [(&[u8; 4], &[u8]); 4] = [
        (b"data", front),
        (b"LIST", b"INFO"),
        (b"data", b""),
        (b"data", back),
    ];
    assert!(samples(wav(1, 2, 16, &chunks)) == whole);
    let mut cut = wav(1, 2, 16, &chunks);
    cut.truncate(cut.len() - 4_000);
    let (rest, info) = heard(cut);
    assert!(rest == whole[..6_000]);
    assert!(
        info.warnings[0].contains("truncated"),
        "{:?}",
        info.warnings
    );
}

#[test]
fn samples_of_24_bits_may_stand_in_four_bytes() {
    let ramp: Vec<i32> = (0..8_000).map(|x| (x - 4_000) << 16).collect();
    let four: Vec<u8> = ramp.iter().flat_map(|x| x.to_le_bytes()).collect();
    let three: Vec<u8> = ramp
        .iter()
        .flat_map(|x| x.to_le_bytes()[1..].to_vec())
        .collect();
    let packed = samples(wav(1, 3, 24, &[(b"data", &three)]));
    assert!(samples(wav(1, 4, 24, &[(b"data", &four)])) == packed);
    // At the lower end, the highest byte repeating the sign, behind silence and in two chunks.
    let fine: Vec<i32> = (0..8_000).map(|x| (x - 4_000) * 1_033).collect();
    let low: Vec<u8> = fine.iter().flat_map(|x| x.to_le_bytes()).collect();
    let high: Vec<u8> = fine
        .iter()
        .flat_map(|x| x.to_le_bytes()[..3].to_vec())
        .collect();
    let silence = 40_000;
    let packed = samples(wav(
        1,
        3,
        24,
        &[(b"data", &[vec![0; 3 * silence], high].concat())],
    ));
    let (first, second) = low.split_at(8_000);
    let first = [vec![0; 4 * silence], first.to_vec()].concat();
    let chunks: [(&[u8; 4], &[u8]); 2] = [(b"data", &first), (b"data", second)];
    assert!(samples(wav(1, 4, 24, &chunks)) == packed);
}

#[test]
fn compressed_sound_that_poses_as_samples_is_named() {
    let mut burst = b"\xfe\x7f\x01\x80".to_vec();
    burst.extend((0..2_044u32).map(|x| (x * 7 + x / 3) as u8));
    let message = refused(wav(2, 4, 16, &[(b"data", &burst.repeat(5))]));
    assert!(message.contains("cannot decode DTS in PCM"), "{message}");
    let mut ac3 = b"\x72\xf8\x1f\x4e\x01\0\0\x30".to_vec();
    ac3.resize(6_144, 0x5a);
    let message = refused(wav(2, 4, 16, &[(b"data", &ac3.repeat(5))]));
    assert!(message.contains("AC-3 in PCM (S/PDIF)"), "{message}");
}

#[test]
fn layer_2_of_bit_rates_that_it_does_not_have_is_named() {
    // 384 kbit/s in one channel: 1,728 bytes at 32 kHz.
    let mut frame = vec![0xff, 0xfd, 0xe8, 0xc4];
    frame.resize(1_728, 0);
    let message = refused(frame.repeat(6));
    assert!(
        message.contains("cannot decode mp2: 384 kbit/s in one channel"),
        "{message}"
    );
    assert!(message.contains("ffmpeg -i"), "{message}");
}

/// A file of three channels of which only the last, the centre, holds sound.
fn centre(kind: &str) -> Vec<u8> {
    let sound = |x: i16| [0, 0, x].into_iter().flat_map(i16::to_be_bytes);
    let data: Vec<u8> = (0..4_000i16).flat_map(sound).collect();
    let layout = [113u32 << 16 | 3, 0, 0].map(u32::to_be_bytes).concat();
    let size = |bytes: usize| (bytes as u32).to_be_bytes();
    if kind == "caf" {
        let mut desc = 16_000f64.to_be_bytes().to_vec();
        desc.extend(b"lpcm");
        desc.extend([0u32, 6, 1, 3, 16].map(u32::to_be_bytes).concat());
        let chunk =
            |name: &[u8; 4], bytes: &[u8]| [&name[..], &[0; 4], &size(bytes.len()), bytes].concat();
        let data = [&[0; 4], &data[..]].concat();
        let chunks = [
            chunk(b"desc", &desc),
            chunk(b"chan", &layout),
            chunk(b"data", &data),
        ];
        return [b"caff\0\x01\0\0", &chunks.concat()[..]].concat();
    }
    let mut common = vec![0, 3];
    common.extend(4_000u32.to_be_bytes());
    common.extend([0, 16, 0x40, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0]);
    let sound = [&[0; 8], &data[..]].concat();
    let chunk = |name: &[u8; 4], bytes: &[u8]| [&name[..], &size(bytes.len()), bytes].concat();
    let chunks = [
        chunk(b"CHAN", &layout),
        chunk(b"COMM", &common),
        chunk(b"SSND", &sound),
    ];
    let body = [b"AIFF", &chunks.concat()[..]].concat();
    [b"FORM", &size(body.len())[..], &body].concat()
}

#[test]
fn a_named_centre_is_heard() {
    for (kind, name) in [("caf", b"chan"), ("aiff", b"CHAN")] {
        let named = samples(centre(kind));
        let loudest = named.iter().copied().fold(0.0, f32::max);
        assert!(named.len() == 4_000 && loudest > 0.03, "{kind}: {loudest}");
        // Without a layout the third of three channels is taken for the one of low frequencies.
        let mut unnamed = centre(kind);
        let at = unnamed.windows(4).position(|bytes| bytes == name).unwrap();
        unnamed[at..at + 4].copy_from_slice(b"skip");
        assert!(samples(unnamed).iter().all(|x| *x == 0.0), "{kind}");
    }
}

/// A FLAC file with comments as Ogg has it, the frames those of the file without.
fn in_ogg(file: &[u8], plain: &[u8]) -> Vec<u8> {
    let head = [b"\x7fFLAC\x01\0\0\x01", &file[..42]].concat();
    let comments = file[42..file.len() - (plain.len() - 42)].to_vec();
    let frames = plain[42..].chunks((plain.len() - 42) / 20);
    let mut pages = vec![page(&[head], 2, 0, 7, 0), page(&[comments], 0, 0, 7, 1)];
    pages.push(page(
        &frames.map(<[u8]>::to_vec).collect::<Vec<_>>(),
        4,
        20 * 192,
        7,
        2,
    ));
    pages.concat()
}

#[test]
fn the_mask_in_flac_comments_names_the_places() {
    let plain = flac_of_frames(&[[0, 0, 9_000]; 20]);
    let with_mask = |mask: &str| {
        let text = format!("WAVEFORMATEXTENSIBLE_CHANNEL_MASK={mask}");
        let mut comments = [0u32, 1, text.len() as u32].map(u32::to_le_bytes).concat();
        comments.extend(text.bytes());
        let mut file = plain.clone();
        file[4] = 0;
        let block = [&[0x84, 0, 0, comments.len() as u8], &comments[..]].concat();
        file.splice(42..42, block);
        file
    };
    let loudest = |file| samples(file).into_iter().fold(0.0, f32::max);
    // The decoder's own guess for three channels is left, right and centre.
    assert!(loudest(plain.clone()) > 0.05);
    assert!(loudest(with_mask("0x7")) > 0.05);
    assert!(loudest(with_mask("0xB")) < 0.001);
    assert!(loudest(in_ogg(&with_mask("0x7"), &plain)) > 0.05);
    assert!(loudest(in_ogg(&with_mask("0xB"), &plain)) < 0.001);
    let message = refused(plain[42..].to_vec());
    assert!(
        message.contains("FLAC frames without their header") && message.contains("ffmpeg -i"),
        "{message}"
    );
}

#[test]
fn edit_lists_and_tables_that_present_nothing_are_named() {
    let data: Vec<u8> = (0..8_000i16).flat_map(i16::to_be_bytes).collect();
    let whole = samples(mov(b"twos", 16, b"", &data, &[]));
    let message = refused(mov(b"twos", 16, b"", &data, &[(500, -1)]));
    assert!(
        message.contains("its edit list presents none of it"),
        "{message}"
    );
    // The durations, the count of samples, and where they are.
    let without = |name: &[u8; 4], field: usize| {
        let mut file = mov(b"twos", 16, b"", &data, &[]);
        let at = file.windows(4).position(|bytes| bytes == name).unwrap() + 4;
        file[at + field..at + field + 4].fill(0);
        file
    };
    assert!(samples(without(b"stts", 12)) == whole);
    let message = refused(without(b"stsz", 8));
    assert!(
        message.contains("its table of samples is empty"),
        "{message}"
    );
}

#[test]
fn matroska_goes_on_behind_bytes_that_are_no_element() {
    let file = golden("aac.mkv");
    let whole = samples(file.clone());
    let cluster = b"\x1f\x43\xb6\x75";
    let at = file.windows(4).position(|bytes| bytes == cluster).unwrap();
    let mut odd = file.clone();
    odd.splice(at..at, [0; 50]);
    assert!(heard(odd).0 == whole);
}

#[test]
fn vorbis_of_many_channels_is_no_noise() {
    let samples = samples(golden("surround.ogg"));
    // Each channel has a tone of its own, of an amplitude of 0.125; the gains are ffmpeg's.
    let level = |hz: f32| {
        let part = &samples[1_000..5_800];
        let turn = |at: usize| 2.0 * std::f32::consts::PI * hz * at as f32 / 16_000.0;
        let sum = part.iter().enumerate().fold((0.0, 0.0), |sum, (at, x)| {
            (sum.0 + x * turn(at).cos(), sum.1 + x * turn(at).sin())
        });
        2.0 * sum.0.hypot(sum.1) / part.len() as f32 / 0.125
    };
    let tones = [300.0, 500.0, 700.0, 900.0, 1_100.0, 1_300.0];
    let gains = [0.207_1, 0.207_1, 0.292_9, 0.0, 0.146_4, 0.146_4];
    for (hz, gain) in tones.into_iter().zip(gains) {
        let got = level(hz);
        assert!((got - gain).abs() < 0.004, "{hz} Hz: {got}, not {gain}");
    }
    let message = refused(golden("quad.ogg"));
    assert!(
        message.contains("cannot decode vorbis") && message.contains("4 channels side by side"),
        "{message}"
    );
}
