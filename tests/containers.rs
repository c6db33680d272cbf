//! Audio files as people have them: tags in front, lengths that lie, edit lists,
//! tracks to choose from. Most are made here from the samples of `tests/golden/audio`.

use std::fs;
use std::path::Path;

use undertone::internals::audio::{self, AudioInfo, AudioOptions, Limits};
use undertone::{Gaps, Input};

use crate::support;

pub fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio");
    fs::read(folder.join(name)).unwrap()
}

fn heard_with(input: impl Into<Input>, options: &AudioOptions) -> (Vec<f32>, AudioInfo) {
    let mut stream = audio::open_with(input, options).unwrap();
    let samples = stream.read_to_end().unwrap();
    (samples, stream.into_info())
}

pub fn heard(bytes: Vec<u8>) -> (Vec<f32>, AudioInfo) {
    heard_with(bytes, &AudioOptions::default())
}

pub fn samples(bytes: Vec<u8>) -> Vec<f32> {
    let (samples, info) = heard(bytes);
    assert_eq!(info.warnings, [""; 0]);
    samples
}

pub fn refused(bytes: Vec<u8>) -> String {
    match audio::open(bytes, &Limits::default()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

/// An ID3v2.3 tag with a title in UTF-16.
pub fn id3(title: &str) -> Vec<u8> {
    let mut text = vec![1, 0xff, 0xfe];
    text.extend(title.encode_utf16().flat_map(u16::to_le_bytes));
    let mut tag = b"ID3\x03\0\0\0\0".to_vec();
    let size = text.len() + 10;
    tag.extend([(size >> 7) as u8, (size & 0x7f) as u8]);
    tag.extend(b"TIT2");
    tag.extend((text.len() as u32).to_be_bytes());
    tag.extend([0, 0]);
    tag.extend(text);
    tag
}

#[test]
fn tags_in_front_and_behind_change_nothing() {
    let mut ape = b"APETAGEX\xd0\x07\0\0".to_vec();
    ape.extend([40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0]);
    ape.resize(72, 0xff);
    let fronts = [
        id3("ÿþ Füße 東京"),
        [id3("a"), id3("b")].concat(),
        ape.clone(),
    ];
    for name in [
        "plain.mp3",
        "stereo.mp3",
        "layer2.mp2",
        "aac.aac",
        "stereo.flac",
        "s16.wav",
    ] {
        let expected = samples(golden(name));
        for front in &fronts {
            let tagged = [front.as_slice(), &golden(name)].concat();
            assert!(samples(tagged) == expected, "{name}");
        }
    }
    let expected = samples(golden("stereo.mp3"));
    for back in [[b"TAG".as_slice(), &[b'x'; 125]].concat(), ape, id3("end")] {
        assert!(samples([golden("stereo.mp3"), back].concat()) == expected);
    }
}

#[test]
fn what_is_not_read_is_named() {
    let mut transport = vec![0x47; 1];
    transport.resize(188, 0xff);
    let mut junk = b"wvpk\x20\0\0\0".to_vec();
    junk.extend(golden("s16.wav"));
    let mut gsm = golden("s16.wav");
    gsm[20] = 0x31;
    let mut windows = golden("s16.wav");
    windows[20..22].copy_from_slice(&[0x61, 1]);
    let mut quicktime = mov(b"QDM2", 16, b"", &[0; 64], &[]);
    quicktime.extend(b"\0\0\0\x08free");
    let cases: [(Vec<u8>, &str); 14] = [
        (junk, "WavPack"),
        (b"MAC \x96\x0f\0\0".to_vec(), "Monkey's Audio"),
        (b"\x7f\xfe\x80\x01 ".repeat(200), "DTS"),
        (transport.repeat(9), "transport stream"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11".to_vec(), "WMA"),
        (b"#!AMR\n".to_vec(), "AMR"),
        (b"\x0b\x77\0\0\x14\x40\0\0".to_vec(), "AC-3"),
        (gsm, "GSM 6.10"),
        (windows, "WMA 2"),
        (quicktime, "QDesign"),
        (b"%PDF-1.7".to_vec(), "a PDF document"),
        (b"<!DOCTYPE html><p>".to_vec(), "an HTML page"),
        (b"Dear Sir".to_vec(), "text, no audio file"),
        (
            b"\0\x01\x02\x03\x04".to_vec(),
            "no audio file of a known format",
        ),
    ];
    for (i, (bytes, name)) in cases.into_iter().enumerate() {
        let message = refused(bytes);
        assert!(message.contains(name), "{name}: {message}");
        assert_eq!(message.contains("ffmpeg -i 'bytes'"), i < 10, "{message}");
    }
}

#[test]
fn files_that_are_cut_off_are_heard_up_to_there_with_a_warning() {
    for name in [
        "s16.wav",
        "rf64.wav",
        "pcm.aiff",
        "pcm.caf",
        "aac.mkv",
        "opus.webm",
        "stereo.mp3",
    ] {
        let whole = samples(golden(name));
        let mut cut = golden(name);
        cut.truncate(cut.len() * 6 / 10);
        let (samples, info) = heard(cut);
        let part = samples.len() as f64 / whole.len() as f64;
        assert!((0.3..0.75).contains(&part), "{name}: {part}");
        assert!(
            info.warnings[0].contains("truncated"),
            "{name}: {:?}",
            info.warnings
        );
    }
    let mut front = mov(b"twos", 16, b"", &[1; 12_800], &[]);
    front.truncate(front.len() - 6_000);
    let (samples, info) = heard(front);
    assert!((3_300..3_500).contains(&samples.len()), "{}", samples.len());
    assert!(info.warnings[0].starts_with("truncated: the header promises 0.4 s"));
    let mut back = golden("aac.m4a");
    back.truncate(back.len() / 2);
    assert!(refused(back).contains("moov"));
}

#[test]
fn streams_that_could_not_say_how_long_they_are() {
    let mut caf = golden("pcm.caf");
    let data = caf.windows(4).position(|bytes| bytes == b"data").unwrap();
    caf[data + 4..data + 12].fill(0xff);
    assert!(samples(caf) == samples(golden("pcm.caf")));
    for size in [[0; 4], [0xff; 4]] {
        let mut aiff = golden("pcm.aiff");
        let sound = aiff.windows(4).position(|bytes| bytes == b"SSND").unwrap();
        aiff[sound + 4..sound + 8].copy_from_slice(&size);
        aiff[4..8].copy_from_slice(&size);
        assert!(samples(aiff) == samples(golden("pcm.aiff")));
    }
}

#[test]
fn nothing_but_the_track_refuses_a_file() {
    let mut small = golden("pcm.aiff");
    small[4..8].copy_from_slice(&[0, 0, 0, 20]);
    assert!(samples(small) == samples(golden("pcm.aiff")));
    let whole = golden("stereo.flac");
    // A cue sheet, a picture, a second description, and a kind that is none, all of nonsense.
    for kind in [5, 6, 0, 4, 3, 99] {
        let mut odd = whole.clone();
        let block = [[kind, 0, 0, 50].as_slice(), &[0x7b; 50]].concat();
        odd.splice(42..42, block);
        assert!(samples(odd) == samples(whole.clone()), "block {kind}");
    }
    let mut notes = golden("s16.wav");
    notes.splice(
        12..12,
        b"LIST\x09\0\0\0INFO\xff\xff\xff\xff\xff\0".iter().copied(),
    );
    assert!(samples(notes) == samples(golden("s16.wav")));
    let mut video = golden("video.mp4");
    let at = video.windows(4).position(|bytes| bytes == b"esds").unwrap();
    video[at + 4..at + 12].fill(0xff);
    assert!(samples(video) == samples(golden("video.mp4")));
}

fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut atom = (body.len() as u32 + 8).to_be_bytes().to_vec();
    atom.extend(kind);
    atom.extend(body);
    atom
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A QuickTime file without `ftyp`: one mono track of plain samples at 16 kHz, `edits` in
/// milliseconds and samples.
pub fn mov(
    format: &[u8; 4],
    bits: u16,
    atoms: &[u8],
    data: &[u8],
    edits: &[(u32, i32)],
) -> Vec<u8> {
    let block = if format == b"ima4" {
        34
    } else {
        usize::from(bits) / 8
    };
    let frames = (data.len() / block * if format == b"ima4" { 64 } else { 1 }) as u32;
    let mut entry = vec![0; 16];
    entry.extend([0, 1]);
    entry.extend(bits.to_be_bytes());
    entry.extend([0, 0, 0, 0, 0x3e, 0x80, 0, 0]);
    entry.extend(atoms);
    let build = |offset: u32| {
        let stbl = [
            atom(b"stsd", &[words(&[0, 1]), atom(format, &entry)].concat()),
            atom(b"stts", &words(&[0, 1, frames, 1])),
            atom(b"stsc", &words(&[0, 1, 1, frames, 1])),
            atom(b"stsz", &words(&[0, 1, frames])),
            atom(b"stco", &words(&[0, 1, offset])),
        ];
        let mdia = [
            atom(b"mdhd", &words(&[0, 0, 0, 16_000, frames, 0x15c7_0000])),
            atom(b"hdlr", b"\0\0\0\0\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            atom(b"minf", &atom(b"stbl", &stbl.concat())),
        ];
        let list = edits
            .iter()
            .flat_map(|(ms, at)| words(&[*ms, at.cast_unsigned(), 1 << 16]));
        let mut elst = words(&[0, edits.len() as u32]);
        elst.extend(list);
        let mut trak = atom(b"tkhd", &[words(&[1, 0, 0, 1]), vec![0; 68]].concat());
        if !edits.is_empty() {
            trak.extend(atom(b"edts", &atom(b"elst", &elst)));
        }
        trak.extend(atom(b"mdia", &mdia.concat()));
        let mvhd = atom(
            b"mvhd",
            &[words(&[0, 0, 0, 1000, frames / 16]), vec![0; 80]].concat(),
        );
        atom(b"moov", &[mvhd, atom(b"trak", &trak)].concat())
    };
    let offset = build(0).len() as u32 + 8;
    [build(offset), atom(b"mdat", data)].concat()
}

/// A ramp that says where it was cut: sample `n` is `n` steps of 16 bits.
fn ramp() -> Vec<i16> {
    (0..16_000).collect()
}

/// The name of an entry, its bits, the atoms in it, and the ramp as it writes samples.
type Pcm = (&'static [u8; 4], u16, Vec<u8>, Vec<u8>);

#[test]
fn quicktime_samples_in_every_order() {
    let ramp = ramp();
    let exact: Vec<f32> = ramp.iter().map(|x| f32::from(*x) / 32_768.0).collect();
    let little = atom(b"wave", &atom(b"enda", &[0, 1]));
    let pcm = |little: u8, bits: u8| atom(b"pcmC", &[0, 0, 0, 0, little, bits]);
    let bytes = |f: &dyn Fn(i16) -> Vec<u8>| ramp.iter().flat_map(|x| f(*x)).collect::<Vec<u8>>();
    let be16 = bytes(&|x| x.to_be_bytes().to_vec());
    let le16 = bytes(&|x| x.to_le_bytes().to_vec());
    let be24 = bytes(&|x| [&x.to_be_bytes()[..], &[0]].concat());
    let le24 = bytes(&|x| [&[0], &x.to_le_bytes()[..]].concat());
    let be32 = bytes(&|x| (i32::from(x) << 16).to_be_bytes().to_vec());
    let float = |x: i16| f32::from(x) / 32_768.0;
    let bef = bytes(&|x| float(x).to_be_bytes().to_vec());
    let lef = bytes(&|x| float(x).to_le_bytes().to_vec());
    let bed = bytes(&|x| f64::from(float(x)).to_be_bytes().to_vec());
    let cases: [Pcm; 12] = [
        (b"twos", 16, vec![], be16.clone()),
        (b"NONE", 16, vec![], be16.clone()),
        (b"sowt", 16, vec![], le16.clone()),
        (b"in24", 24, vec![], be24.clone()),
        (b"in24", 24, little.clone(), le24.clone()),
        (b"in32", 32, vec![], be32),
        (b"fl32", 32, vec![], bef.clone()),
        (b"fl32", 32, little, lef),
        (b"fl64", 64, vec![], bed),
        (b"ipcm", 24, pcm(1, 24), le24),
        (b"ipcm", 16, pcm(0, 16), be16),
        (b"fpcm", 32, pcm(0, 32), bef),
    ];
    for (format, bits, atoms, data) in cases {
        let name = String::from_utf8_lossy(format).into_owned();
        assert!(
            samples(mov(format, bits, &atoms, &data, &[])) == exact,
            "{name} {bits}"
        );
    }
    let signed: Vec<u8> = (0..100).map(|x: i8| (x - 50).cast_unsigned()).collect();
    let unsigned: Vec<u8> = (0..100).map(|x: u8| x + 78).collect();
    let expected = samples(mov(b"twos", 8, b"", &signed, &[]));
    assert_eq!(expected[0], -50.0 / 128.0);
    assert!(samples(mov(b"raw ", 8, b"", &unsigned, &[])) == expected);
    let loud = samples(mov(b"alaw", 8, b"", &[0x55 ^ 0xff; 64], &[]));
    assert!(loud.len() == 64 && loud[0] > 0.9);
    assert_eq!(
        samples(mov(b"ulaw", 8, b"", &[0x80; 64], &[]))[0],
        32_124.0 / 32_768.0
    );
    assert_eq!(samples(mov(b"ima4", 16, b"", &[0; 340], &[])).len(), 640);
}

#[test]
fn every_entry_of_an_edit_list_counts() {
    let data: Vec<u8> = ramp().iter().flat_map(|x| x.to_be_bytes()).collect();
    let numbers = |edits: &[(u32, i32)], gaps| {
        let file = mov(b"twos", 16, b"", &data, edits);
        let options = AudioOptions {
            gaps,
            ..AudioOptions::default()
        };
        let (samples, info) = heard_with(file, &options);
        assert_eq!(info.warnings, [""; 0]);
        samples
            .iter()
            .map(|x| (x * 32_768.0) as i32)
            .collect::<Vec<_>>()
    };
    let close = |edits: &[(u32, i32)]| numbers(edits, Gaps::Close);
    let range = |from: i32, to: i32| (from..to).collect::<Vec<_>>();
    assert_eq!(close(&[]), range(0, 16_000));
    assert_eq!(close(&[(0, 1_000)]), range(1_000, 16_000));
    assert_eq!(close(&[(250, 0)]), range(0, 4_000));
    let two = [(100, 2_000), (50, 12_000)];
    assert_eq!(
        close(&two),
        [range(2_000, 3_600), range(12_000, 12_800)].concat()
    );
    let back = [(100, 12_000), (50, 2_000)];
    assert_eq!(
        close(&back),
        [range(12_000, 13_600), range(2_000, 2_800)].concat()
    );
    let late = [(500, -1), (100, 2_000), (1_000, -1), (50, 12_000)];
    assert_eq!(close(&late), close(&two));
    let silence = |n| vec![0; n];
    let kept = [
        silence(8_000),
        range(2_000, 3_600),
        silence(16_000),
        range(12_000, 12_800),
    ];
    assert_eq!(numbers(&late, Gaps::Keep), kept.concat());
}

#[test]
fn blocks_of_adpcm_in_caf() {
    let wav = golden("ima.wav");
    let at = wav.windows(4).position(|bytes| bytes == b"data").unwrap();
    let u16_at = |at: usize| u32::from(u16::from_le_bytes([wav[at], wav[at + 1]]));
    let (channels, block) = (u16_at(22), u16_at(32));
    let frames = (block - 4 * channels) * 2 / channels + 1;
    let rate = u32::from_le_bytes(wav[24..28].try_into().unwrap());
    let mut file = b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec();
    file.extend(f64::from(rate).to_be_bytes());
    file.extend(b"ms\0\x11");
    file.extend(words(&[0, block, frames, channels, 4]));
    let size = u32::from_le_bytes(wav[at + 4..at + 8].try_into().unwrap());
    file.extend(b"data");
    file.extend(words(&[0, size + 4, 0]));
    file.extend(&wav[at + 8..]);
    assert!(samples(file) == samples(wav));
}

#[test]
fn tracks_are_listed() {
    let read = |bytes: Vec<u8>| audio::probe(bytes, &AudioOptions::default()).unwrap();
    let found = read(golden("video.mp4"));
    assert_eq!((found.container.as_str(), found.taken), ("isomp4", Some(1)));
    assert_eq!(found.tracks[0].codec, "AAC (LC)");
    assert_eq!(found.tracks[0].sample_rate, Some(44_100));
    let found = read(golden("ac3.mkv"));
    assert_eq!(
        (found.tracks[0].codec.as_str(), found.taken),
        ("AC-3", None)
    );
    assert!(found.tracks[0].obstacle.is_some() && found.warnings.len() == 1);
    let found = read(mov(b"twos", 16, b"", &[0; 3_200], &[]));
    assert_eq!(found.tracks[0].language.as_deref(), Some("eng"));
    assert_eq!(found.tracks[0].duration_s, Some(0.1));
}

#[test]
fn files_from_the_field() {
    let Some(folder) = support::reference() else {
        return;
    };
    // Samples at 16 kHz, of a whole file as ffmpeg counts them, and part of a warning or an error.
    let cases = [
        ("caf_streamed.caf", 30_393, ""),
        ("cut_off.aiff", 58_645, "truncated"),
        ("cut_off.m4a", 58_368, "truncated"),
        ("cut_off.mkv", 59_392, "truncated"),
        ("cut_off.webm", 58_136, "truncated"),
        ("flac_cuesheet.flac", 30_393, ""),
        ("hevc_x265.mp4", 30_465, ""),
        (
            "m4a_5.1_then_stereo.mp4",
            30_465,
            "track 2 (AAC (LC)) is taken",
        ),
        ("m4a_end_cut_by_edit_list.m4a", 33_808, ""),
        ("m4a_no_ftyp.mov", 95_852, ""),
        ("mkv_mp3_header_stripped.mkv", 30_929, ""),
        ("mkv_two_tracks_second_default.mkv", 30_393, ""),
        ("mov_pcm_f32be.mov", 30_393, ""),
        ("mov_pcm_s24be.mov", 30_393, ""),
        ("mov_pcm_s8.mov", 30_393, ""),
        ("mp3_joined.mp3", 58_928, ""),
        ("mp3_utf16_tag.mp3", 30_393, ""),
        ("opus_5.1.opus", 30_393, ""),
        ("wav_pcm_20bit.wav", 30_393, ""),
        ("webm_gap.webm", 58_880, ""),
        ("raw.dts", 0, "DTS"),
        ("wav_gsm.wav", 0, "GSM 6.10"),
        ("wavpack_like.wv", 0, "WavPack"),
        ("wma.wma", 0, "WMA"),
    ];
    for (name, len, word) in cases {
        let path = folder.join("field").join(name);
        let (got, said) = match audio::open(&path, &Limits::default()) {
            Ok(mut stream) => {
                let len = stream.read_to_end().unwrap().len();
                (len, stream.into_info().warnings.join("; "))
            }
            Err(error) => (0, error.to_string()),
        };
        assert_eq!(got, len, "{name}: {said}");
        assert!(
            said.contains(word) && (word.is_empty() == said.is_empty()),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_pause_without_packets_is_kept_where_it_is_asked_for() {
    let Some(folder) = support::reference() else {
        return;
    };
    let file = folder.join("field/webm_gap.webm");
    let options = AudioOptions {
        gaps: Gaps::Keep,
        ..AudioOptions::default()
    };
    let (samples, info) = heard_with(&file, &options);
    let seconds = samples.len() as f64 / 16_000.0;
    assert!((13.4..13.9).contains(&seconds), "{seconds}");
    assert!(info.warnings.is_empty());
    assert!(
        samples
            .chunks(16_000)
            .any(|second| second.iter().all(|x| *x == 0.0))
    );
}
