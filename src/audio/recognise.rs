//! What a file is, by its first bytes: one table of signatures, behind any tags.
//!
//! A signature counts at the start only. MPEG audio and ADTS have none worth the name: they count
//! where several frames follow one another and agree, behind silence and junk too; and so does an Ogg
//! page, whose checksum makes sure of it.

use std::io::Result as IoResult;

use super::demux::{adts, flac, mpeg, ogg};
use super::source::Source;
use super::tags::tag_bytes;

/// A container that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wave,
    Aiff,
    Caf,
    Flac,
    Ogg,
    Matroska,
    Mp4,
    /// Frames begin so many bytes in.
    Mpeg(u64),
    Adts(u64),
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Known(Kind),
    /// Audio or video in a container that nothing here reads: its name.
    Media(&'static str),
    /// Something else: its name.
    NoAudio(&'static str),
    Unknown,
}

use Found::{Known, Media, NoAudio};

/// Bytes at an offset, more bytes at another, and what a file with both is.
type Signature = (usize, &'static [u8], usize, &'static [u8], Found);

/// Every signature; the first that fits counts.
#[rustfmt::skip]
const SIGNATURES: [Signature; 84] = [
    (0, b"RIFF", 8, b"WAVE", Known(Kind::Wave)),
    (0, b"RF64", 8, b"WAVE", Known(Kind::Wave)),
    (0, b"BW64", 8, b"WAVE", Known(Kind::Wave)),
    (0, b"FORM", 8, b"AIFF", Known(Kind::Aiff)),
    (0, b"FORM", 8, b"AIFC", Known(Kind::Aiff)),
    (0, b"caff", 4, b"\0", Known(Kind::Caf)),
    (0, b"fLaC", 0, b"", Known(Kind::Flac)),
    (0, b"OggS", 0, b"", Known(Kind::Ogg)),
    (0, b"\x1a\x45\xdf\xa3", 0, b"", Known(Kind::Matroska)),
    (4, b"ftyp", 0, b"", Known(Kind::Mp4)),
    (4, b"moov", 0, b"", Known(Kind::Mp4)),
    (4, b"mdat", 0, b"", Known(Kind::Mp4)),
    (4, b"wide", 0, b"", Known(Kind::Mp4)),
    (4, b"free", 0, b"", Known(Kind::Mp4)),
    (4, b"skip", 0, b"", Known(Kind::Mp4)),
    (4, b"pnot", 0, b"", Known(Kind::Mp4)),
    (4, b"styp", 0, b"", Known(Kind::Mp4)),
    (4, b"moof", 0, b"", Known(Kind::Mp4)),
    (0, b"RIFF", 8, b"AVI ", Media("AVI")),
    (0, b"RIFF", 8, b"RMID", Media("MIDI (notes, no sound)")),
    (0, b"RIFF", 8, b"WEBP", NoAudio("a WebP picture")),
    (0, b"RIFX", 8, b"WAVE", Media("wav in big-endian order (RIFX)")),
    (0, b"FORM", 8, b"8SVX", Media("8SVX")),
    (0, b"riff\x2e\x91\xcf\x11", 0, b"", Media("Wave64")),
    (0, b".snd", 0, b"", Media("Sun audio (AU)")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, b"", Media("WMA or WMV (Windows Media, ASF)")),
    (0, b"wvpk", 0, b"", Media("WavPack")),
    (0, b"MAC ", 0, b"", Media("Monkey's Audio (APE)")),
    (0, b"TTA1", 0, b"", Media("TTA")),
    (0, b"TTA2", 0, b"", Media("TTA")),
    (0, b"MPCK", 0, b"", Media("Musepack")),
    (0, b"MP+", 0, b"", Media("Musepack")),
    (0, b"OFR ", 0, b"", Media("OptimFROG")),
    (0, b"TWIN", 0, b"", Media("TwinVQ")),
    (0, b"DSD ", 0, b"", Media("DSD (DSF)")),
    (0, b"FRM8", 0, b"", Media("DSD (DSDIFF)")),
    (0, b"#!AMR-WB", 0, b"", Media("AMR-WB")),
    (0, b"#!AMR", 0, b"", Media("AMR-NB")),
    (0, b"#!SILK", 0, b"", Media("SILK")),
    (0, b"\x02#!SILK", 0, b"", Media("SILK")),
    (0, b"#!EVRC", 0, b"", Media("EVRC")),
    (0, b"FLV", 3, b"\x01", Media("FLV (Flash video)")),
    (0, b".RMF", 0, b"", Media("RealMedia (RealAudio)")),
    (0, b".ra\xfd", 0, b"", Media("RealAudio")),
    (0, b"MThd", 0, b"", Media("MIDI (notes, no sound)")),
    (0, b"ADIF", 0, b"", Media("AAC (ADIF)")),
    (0, b"\x7f\xfe\x80\x01", 0, b"", Media("DTS")),
    (0, b"\xfe\x7f\x01\x80", 0, b"", Media("DTS")),
    (0, b"\x1f\xff\xe8\x00", 0, b"", Media("DTS")),
    (0, b"\xff\x1f\x00\xe8", 0, b"", Media("DTS")),
    (0, b"\x64\x58\x20\x25", 0, b"", Media("DTS-HD")),
    (0, b"DTSHDHDR", 0, b"", Media("DTS-HD")),
    (4, b"\xf8\x72\x6f\xba", 0, b"", Media("TrueHD")),
    (4, b"\xf8\x72\x6f\xbb", 0, b"", Media("MLP")),
    (0, b"\0\0\x01\xba", 0, b"", Media("an MPEG program stream")),
    (0, b"\0\0\x01\xb3", 0, b"", NoAudio("an MPEG video stream")),
    (0, b"2BIT", 0, b"", Media("AVR")),
    (0, b"Creative Voice File", 0, b"", Media("Creative Voice (VOC)")),
    (0, b"NIST_1A", 0, b"", Media("NIST SPHERE")),
    (0, b"\x06\x0e\x2b\x34", 0, b"", Media("MXF")),
    (0, b"nut/multimedia", 0, b"", Media("NUT")),
    (0, b"%PDF", 0, b"", NoAudio("a PDF document")),
    (0, b"PK\x03\x04", 0, b"", NoAudio("a ZIP archive (or an office document)")),
    (0, b"PK\x05\x06", 0, b"", NoAudio("an empty ZIP archive")),
    (0, b"\x1f\x8b", 0, b"", NoAudio("a gzip archive")),
    (0, b"BZh", 0, b"", NoAudio("a bzip2 archive")),
    (0, b"\xfd7zXZ\0", 0, b"", NoAudio("an xz archive")),
    (0, b"\x28\xb5\x2f\xfd", 0, b"", NoAudio("a zstd archive")),
    (0, b"7z\xbc\xaf\x27\x1c", 0, b"", NoAudio("a 7z archive")),
    (0, b"Rar!", 0, b"", NoAudio("a RAR archive")),
    (257, b"ustar", 0, b"", NoAudio("a tar archive")),
    (0, b"\x89PNG", 0, b"", NoAudio("a PNG picture")),
    (0, b"\xff\xd8\xff", 0, b"", NoAudio("a JPEG picture")),
    (0, b"GIF8", 0, b"", NoAudio("a GIF picture")),
    (0, b"BM", 6, b"\0\0\0\0", NoAudio("a BMP picture")),
    (0, b"II*\0", 0, b"", NoAudio("a TIFF picture")),
    (0, b"MM\0*", 0, b"", NoAudio("a TIFF picture")),
    (0, b"\x7fELF", 0, b"", NoAudio("a program")),
    (0, b"MZ", 0, b"", NoAudio("a program")),
    (0, b"SQLite format 3", 0, b"", NoAudio("a database")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, b"", NoAudio("an office document")),
    (0, b"wOFF", 0, b"", NoAudio("a font")),
    (0, b"GGUF", 0, b"", NoAudio("a model")),
    (0, b"\x93NUMPY", 0, b"", NoAudio("an array of numbers (NumPy)")),
];

/// Text that begins so is named more closely; spaces before it and capitals don't count.
const TEXTS: [(&str, &str); 6] = [
    ("<!doctype html", "an HTML page"),
    ("<html", "an HTML page"),
    ("<?xml", "an XML document"),
    ("<svg", "an SVG picture"),
    ("{\\rtf", "an RTF document"),
    ("#extm3u", "a playlist (M3U)"),
];

/// Bytes that the signatures and the check for text look at.
const HEAD_BYTES: u64 = 1024;
/// Junk that frames and pages may stand behind, and silence in front of that.
const JUNK_BYTES: u64 = 64 << 10;
const SILENCE_BYTES: u64 = 16 << 20;
/// Frames in a row that make sure of a stream behind junk, and at the very start.
const SURE_FRAMES: usize = 4;
const LIKELY_FRAMES: usize = 2;
/// Tags in front that are skipped before a file is given up.
const MAX_TAGS: usize = 64;
const TRANSPORT_PACKET: u64 = 188;

/// Finds out what a file is, and lets `source` begin behind the tags in front of it.
pub(super) fn recognise(source: &mut Source) -> IoResult<Found> {
    for _ in 0..MAX_TAGS {
        let found = by_signature(&source.upto(0, HEAD_BYTES)?);
        if found != Found::Unknown {
            return Ok(found);
        }
        let tag = tag_bytes(source, 0)?;
        if tag == 0 || tag >= source.len() {
            break;
        }
        source.skip(tag);
    }
    if is_transport_stream(source)? {
        return Ok(Media("an MPEG transport stream (TS)"));
    }
    let silence = silent_bytes(source)?;
    if let Some(page) = ogg::first_page(&source.upto(silence, JUNK_BYTES)?) {
        source.skip(silence + page as u64);
        return Ok(Known(Kind::Ogg));
    }
    if let Some(kind) = frames(source, silence)? {
        return Ok(Known(kind));
    }
    let head = source.upto(0, HEAD_BYTES)?;
    let frames = flac::is_frame(&head).then_some(Media("FLAC frames without their header"));
    Ok(dolby(&head)
        .or(frames)
        .or_else(|| text(&head))
        .unwrap_or(Found::Unknown))
}

fn by_signature(head: &[u8]) -> Found {
    let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|b| b.starts_with(bytes));
    let fits = |(at, first, also, second, _): &&Signature| has(*at, first) && has(*also, second);
    let found = SIGNATURES.iter().find(fits);
    found.map_or(Found::Unknown, |(.., found)| *found)
}

/// Zeros that the source begins with.
fn silent_bytes(source: &mut Source) -> IoResult<u64> {
    let mut at = 0;
    while at < SILENCE_BYTES {
        let block = source.upto(at, JUNK_BYTES)?;
        match block.iter().position(|byte| *byte != 0) {
            Some(first) => return Ok(at + first as u64),
            None if block.is_empty() => break,
            None => at += block.len() as u64,
        }
    }
    Ok(0)
}

/// MPEG audio or ADTS: behind silence, or behind junk where more frames make sure of it.
fn frames(source: &mut Source, silence: u64) -> IoResult<Option<Kind>> {
    let head = source.upto(silence, JUNK_BYTES)?;
    for at in 0..head.len().saturating_sub(1) {
        if head[at] != 0xff || head[at + 1] < 0xe0 {
            continue;
        }
        let needed = if at == 0 { LIKELY_FRAMES } else { SURE_FRAMES };
        let at = silence + at as u64;
        if is_chain(source, at, needed, adts::Header::at, |a, b| {
            (b.is_none_or(|b| a.agrees(&b)), a.bytes)
        })? {
            return Ok(Some(Kind::Adts(at)));
        }
        if is_chain(source, at, needed, mpeg::Header::at, |a, b| {
            (b.is_none_or(|b| a.agrees(&b)), a.bytes)
        })? {
            return Ok(Some(Kind::Mpeg(at)));
        }
    }
    Ok(None)
}

/// Whether headers follow one another that agree: `needed` of them, or fewer up to the file's end.
fn is_chain<H: Copy>(
    source: &mut Source,
    mut at: u64,
    needed: usize,
    read: impl Fn(&mut Source, u64) -> IoResult<Option<H>>,
    compare: impl Fn(H, Option<H>) -> (bool, u64),
) -> IoResult<bool> {
    let mut last = None;
    for found in 0..needed {
        let Some(header) = read(source, at)? else {
            let ends = at == source.len() || tag_bytes(source, at)? > 0;
            return Ok(found > 0 && ends && needed == LIKELY_FRAMES);
        };
        let (agrees, bytes) = compare(header, last);
        if !agrees {
            return Ok(false);
        }
        last = Some(header);
        at += bytes;
    }
    Ok(true)
}

/// Packets of 188 bytes (or 192 with a time before each) that begin with the same byte.
fn is_transport_stream(source: &mut Source) -> IoResult<bool> {
    for (first, step) in [(0, TRANSPORT_PACKET), (4, TRANSPORT_PACKET + 4)] {
        let mut packets = 0;
        while packets < 4 && source.array(first + packets * step)? == Some([0x47]) {
            packets += 1;
        }
        if packets == 4 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// AC-3 and E-AC-3 by their word of synchronisation and the version behind it.
fn dolby(head: &[u8]) -> Option<Found> {
    if head.get(..2)? != b"\x0b\x77" && head.get(..2)? != b"\x77\x0b" {
        return None;
    }
    Some(Media(match head.get(5)? >> 3 {
        11..=16 => "E-AC-3",
        _ => "AC-3",
    }))
}

/// Text, where nearly all of it can be read.
fn text(head: &[u8]) -> Option<Found> {
    let whole = match head {
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            let zeros = head.iter().filter(|byte| **byte == 0).count();
            return (zeros * 3 > head.len()).then_some(NoAudio("text"));
        }
        head => head,
    };
    // The last character may be cut off.
    let readable = match std::str::from_utf8(whole) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&whole[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b');
    if readable.is_empty() || readable.chars().any(is_odd) {
        return None;
    }
    let start = readable.trim_start().to_ascii_lowercase();
    let named = TEXTS.iter().find(|(known, _)| start.starts_with(known));
    Some(NoAudio(named.map_or("text", |(_, name)| name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Input, Limits};

    fn of(bytes: &[u8]) -> Found {
        let mut source = Source::open(Input::from(bytes.to_vec()), &Limits::default()).unwrap();
        recognise(&mut source).unwrap()
    }

    /// An ID3v2 tag of `size` bytes behind its header.
    fn id3(size: usize) -> Vec<u8> {
        let mut tag = b"ID3\x03\0\0".to_vec();
        tag.extend([21, 14, 7, 0].map(|shift| (size >> shift & 0x7f) as u8));
        tag.extend(vec![0xff; size]);
        tag
    }

    fn mp3_frames(n: usize) -> Vec<u8> {
        let mut frame = 0xfffb_9064_u32.to_be_bytes().to_vec();
        frame.resize(417, 0x55);
        frame.repeat(n)
    }

    #[test]
    fn tags_in_front_are_skipped_by_their_length() {
        let mut ape = b"APETAGEX\xd0\x07\0\0".to_vec();
        ape.extend(40u32.to_le_bytes());
        ape.extend([0; 4]);
        ape.extend(0xa000_0000_u32.to_le_bytes());
        ape.resize(32 + 40, 0xff);
        let fronts = [
            Vec::new(),
            id3(0),
            id3(300),
            [id3(200), id3(30)].concat(),
            ape,
            [0; 5000].to_vec(),
        ];
        for (i, front) in fronts.iter().enumerate() {
            let of = |rest: &[u8]| of(&[front.as_slice(), rest].concat());
            assert!(matches!(of(&mp3_frames(6)), Known(Kind::Mpeg(_))), "{i}");
            if i < 5 {
                assert_eq!(of(b"fLaC\0\0\0\x22"), Known(Kind::Flac), "{i}");
                assert_eq!(of(b"wvpk\0\0\0\x22"), Media("WavPack"), "{i}");
            }
        }
    }

    #[test]
    fn frames_count_where_several_agree() {
        assert_eq!(of(&mp3_frames(2)), Known(Kind::Mpeg(0)));
        let mut broken = mp3_frames(1);
        broken.extend([0x12; 600]);
        assert_eq!(of(&broken), Found::Unknown);
        let junk = [vec![0x11; 700], mp3_frames(5)].concat();
        assert_eq!(of(&junk), Known(Kind::Mpeg(700)));
        let too_few = [vec![0x11; 700], mp3_frames(3), vec![0x11; 9]].concat();
        assert_eq!(of(&too_few), Found::Unknown);
    }

    #[test]
    fn long_silence_in_front_is_passed_over() {
        for zeros in [100_000, 65_535, 65_536, 3 << 20] {
            let found = of(&[vec![0; zeros], mp3_frames(2)].concat());
            assert_eq!(found, Known(Kind::Mpeg(zeros as u64)));
        }
        assert_eq!(of(&[0; 200_000]), Found::Unknown);
    }

    #[test]
    fn flac_without_a_header_is_named() {
        // 4,096 frames at 44.1 kHz, stereo of 16 bits, the first frame, and the sum of all that.
        let header = b"\xff\xf8\xc9\x18\x00\xc2";
        let named = Media("FLAC frames without their header");
        assert_eq!(of(&[header.as_slice(), &[7; 90]].concat()), named);
        let mut other = [header.as_slice(), &[7; 90]].concat();
        other[5] ^= 1;
        assert_eq!(of(&other), Found::Unknown);
    }

    #[test]
    fn a_signature_counts_at_the_start_only() {
        let inside = [b"\x01\x02\x03\x04".as_slice(), b"RIFF\0\0\0\0WAVEfmt "].concat();
        assert_eq!(of(&inside), Found::Unknown);
        let packets = |n: usize, gap: usize| {
            let mut packet = vec![0x47];
            packet.resize(188, 0xff);
            [vec![0; gap], packet].concat().repeat(n)
        };
        let stream = Media("an MPEG transport stream (TS)");
        assert_eq!((of(&packets(5, 0)), of(&packets(5, 4))), (stream, stream));
        assert_eq!(of(b"\x0b\x77\0\0\0\x40\0\0"), Media("AC-3"));
        assert_eq!(of(b"\x0b\x77\0\0\0\x80\0\0"), Media("E-AC-3"));
        assert_eq!(of(b"  <HTML><body>"), NoAudio("an HTML page"));
        assert_eq!(of("Grüße\n".as_bytes()), NoAudio("text"));
        assert_eq!(of(b"\xff\xfea\0b\0c\0"), NoAudio("text"));
        assert_eq!(of(b"\0\x01\x02\x03"), Found::Unknown);
    }
}
