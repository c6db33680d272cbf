//! FLAC, whose frames symphonia finds. Of the blocks in front of them it gets to see the stream's
//! description alone, without a count of frames: the file's end is the end.
//!
//! Files that were joined hold one stream behind another, and tags may follow each. symphonia takes
//! the frames of the second stream for damage, and a tag for a part of the last frame, and drops
//! both without a word; so each stream is read as a file of its own, which ends where tags begin.

use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memchr::memmem;
use symphonia::core::audio::Channels;
use symphonia::core::checksum::Crc8Ccitt;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, Monitor};
use symphonia::default::formats::FlacReader;

use super::blocks;
use super::seeking::sought;
use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::places;
use crate::audio::source::Source;
use crate::audio::tags::tag_bytes;

const MARKER: &[u8; 4] = b"fLaC";
/// The letters that a stream and the tags behind one begin with.
const BEGINNINGS: [&[u8]; 4] = [MARKER, b"ID3", b"TAG", b"APETAGEX"];
/// What a stream begins with: the marker and the header of its description, which is the last block
/// or not.
const BEGIN_BYTES: usize = 8;
/// Blocks before the first frame that are looked at.
const MAX_BLOCKS: usize = 4096;
const STREAM_INFO_BYTES: usize = 34;
/// Most bytes of comments that are searched for the places of the channels.
const MAX_COMMENT_BYTES: u64 = 64 << 10;
/// Tags behind a stream that are looked at.
const MAX_TAGS: usize = 8;

/// A FLAC file.
struct Flac {
    source: Arc<Mutex<Source>>,
    reader: FlacReader<'static>,
    tracks: Vec<Track>,
    /// Where the current stream ends, once that was come upon.
    seam: Arc<OnceLock<Seam>>,
    change: Option<Box<Change>>,
    /// The number of the sample behind the last packet, and a packet that others went missing before.
    expected: Option<i64>,
    held: Option<Packet>,
}

/// Where a stream ends.
#[derive(Clone, Copy)]
struct Seam {
    /// Its first byte that is none of its frames.
    end: u64,
    /// Where another stream begins.
    next: Option<u64>,
}

/// A stream, of which nothing was decoded yet.
struct Stream {
    reader: Result<FlacReader<'static>, String>,
    seam: Arc<OnceLock<Seam>>,
    duration_s: Option<f64>,
    places: Option<Channels>,
}

/// Opens a FLAC file; an error says what it lacks.
pub(in crate::audio) fn open(source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let source = Arc::new(Mutex::new(source));
    let first = match stream(&source, 0)? {
        Ok(first) => first,
        Err(lack) => return Ok(Err(lack)),
    };
    Ok(first.reader.map(|reader| {
        let track = Track {
            params: params(&reader, first.places).unwrap_or_default(),
            duration_s: first.duration_s,
            ..Track::default()
        };
        Box::new(Flac {
            source,
            reader,
            tracks: vec![track],
            seam: first.seam,
            change: None,
            expected: None,
            held: None,
        }) as Box<dyn Demuxer>
    }))
}

/// The stream that begins at `begin`; an error says what it lacks.
fn stream(source: &Arc<Mutex<Source>>, begin: u64) -> IoResult<Result<Stream, String>> {
    let Blocks {
        info,
        comments,
        frames,
    } = blocks(&mut lock(source), begin)?;
    let Some(mut info) = info else {
        return Ok(Err("the description of its stream is missing".to_owned()));
    };
    let (rate, channels) = format(&info);
    if rate == 0 {
        return Ok(Err("a sample rate of 0 Hz makes no sense".to_owned()));
    }
    let total = u64::from(info[13] & 15) << 32
        | u64::from(u32::from_be_bytes([info[14], info[15], info[16], info[17]]));
    info[13] &= 0xf0;
    info[14..].fill(0);
    let seam = Arc::new(OnceLock::new());
    let bytes = StreamBytes {
        source: Arc::clone(source),
        head: [MARKER.as_slice(), b"\x80\0\0\x22", &info].concat(),
        frames,
        position: 0,
        seam: Arc::clone(&seam),
    };
    let bytes = MediaSourceStream::new(Box::new(bytes), MediaSourceStreamOptions::default());
    Ok(Ok(Stream {
        reader: FlacReader::try_new(bytes, FormatOptions::default())
            .map_err(|error| error.to_string()),
        seam,
        places: places::commented(&comments, channels as usize),
        duration_s: Some(total as f64 / f64::from(rate)).filter(|_| total > 0),
    }))
}

/// The sample rate and the channels of a stream, by its description.
fn format(info: &[u8; STREAM_INFO_BYTES]) -> (u32, u32) {
    let rate = u32::from_be_bytes([0, info[10], info[11], info[12]]) >> 4;
    (rate, u32::from(info[12] >> 1 & 7) + 1)
}

/// Puts into `params` what the blocks say that other containers keep with a track: the description of
/// the stream, and the places that its comments name.
pub(super) fn describe(blocks: &[u8], params: &mut AudioCodecParameters) {
    let mut rest = blocks.strip_prefix(MARKER).unwrap_or(blocks);
    let (mut found, mut comments) = (None, &[][..]);
    while let Some([kind, a, b, c]) = rest.first_chunk() {
        let size = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let body = &rest[4..rest.len().min(4 + size)];
        match kind & 0x7f {
            0 if found.is_none() => found = body.first_chunk::<STREAM_INFO_BYTES>(),
            4 => comments = body,
            _ => {}
        }
        rest = &rest[4 + body.len()..];
    }
    if let Some(info) = found {
        let (rate, channels) = format(info);
        params
            .with_sample_rate(rate)
            .with_channels(blocks::unplaced(channels))
            .with_extra_data(info.as_slice().into());
        if let Some(places) = places::commented(comments, channels as usize) {
            params.with_channels(places);
        }
    }
}

/// Whether a frame begins here: its header, whose last byte is the sum of those before it; RFC 9639,
/// section 9.1.
pub(in crate::audio) fn is_frame(bytes: &[u8]) -> bool {
    let Some([0xff, 0xf8 | 0xf9, sizes, channels, number, ..]) = bytes.first_chunk::<5>() else {
        return false;
    };
    let (block, rate) = (sizes >> 4, sizes & 15);
    let is_reserved = block == 0 || rate == 15 || channels >> 4 > 10 || channels & 1 == 1;
    let number_bytes = number.leading_ones().max(1) as usize;
    let block_bytes = match block {
        6 => 1,
        7 => 2,
        _ => 0,
    };
    let rate_bytes = match rate {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let end = 4 + number_bytes + block_bytes + rate_bytes;
    let mut sum = Crc8Ccitt::new(0);
    sum.process_buf_bytes(bytes.get(..end).unwrap_or_default());
    !is_reserved && bytes.get(end) == Some(&sum.crc())
}

/// What the blocks in front of a stream hold.
#[derive(Default)]
struct Blocks {
    /// The description of the stream.
    info: Option<[u8; STREAM_INFO_BYTES]>,
    comments: Vec<u8>,
    /// Where its frames begin.
    frames: u64,
}

/// The blocks of the stream at `begin`.
fn blocks(source: &mut Source, begin: u64) -> IoResult<Blocks> {
    let mut at = begin + MARKER.len() as u64;
    let mut found = Blocks {
        frames: at,
        ..Blocks::default()
    };
    for _ in 0..MAX_BLOCKS {
        let Some([kind, size @ ..]) = source.array::<4>(at)? else {
            break;
        };
        if kind == 0xff {
            break;
        }
        let size = u64::from(u32::from_be_bytes([0, size[0], size[1], size[2]]));
        match kind & 0x7f {
            0 if found.info.is_none() => found.info = source.array(at + 4)?,
            4 => found.comments = source.upto(at + 4, size.min(MAX_COMMENT_BYTES))?,
            _ => {}
        }
        at += 4 + size;
        if at > source.len() {
            break;
        }
        found.frames = at;
        if kind & 0x80 != 0 {
            break;
        }
    }
    Ok(found)
}

fn lock(source: &Mutex<Source>) -> std::sync::MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parameters of a stream, its channels at the places that its comments name.
fn params(reader: &FlacReader<'_>, places: Option<Channels>) -> Option<AudioCodecParameters> {
    let Some(CodecParameters::Audio(params)) = &reader.tracks().first()?.codec_params else {
        return None;
    };
    let mut params = params.clone();
    if let Some(places) = places {
        params.with_channels(places);
    }
    Some(params)
}

impl Flac {
    /// Goes on with the stream behind the current one, if there is one.
    fn begin_next(&mut self) -> Result<bool, Fault> {
        let Some(begin) = self.seam.get().and_then(|seam| seam.next) else {
            return Ok(false);
        };
        let damaged = |why| Fault::Damaged(format!("the recording at byte {begin}: {why}"));
        // Whatever is wrong with this stream, the next call goes on behind it.
        self.seam = Arc::default();
        self.expected = None;
        let stream = stream(&self.source, begin)?.map_err(damaged)?;
        self.seam = stream.seam;
        self.reader = stream.reader.map_err(damaged)?;
        self.change = params(&self.reader, stream.places).map(|params| {
            Box::new(Change {
                params,
                skip_frames: None,
            })
        });
        Ok(true)
    }

    /// The packet as it is, or kept back behind a fault where samples before it are missing: the
    /// library drops damaged frames without a word.
    fn complete(&mut self, begin: i64, packet: Packet) -> Result<Packet, Fault> {
        let missing = begin.saturating_sub(self.expected.unwrap_or(begin));
        let frames = i64::try_from(packet.frames).unwrap_or(0);
        self.expected = Some(begin.saturating_add(frames));
        if missing <= 0 {
            return Ok(packet);
        }
        let rate = params(&self.reader, None).and_then(|params| params.sample_rate);
        let seconds = |samples| samples as f64 / f64::from(rate.unwrap_or(1).max(1));
        self.held = Some(packet);
        Err(Fault::Damaged(format!(
            "{:.2} s are missing at {:.2} s",
            seconds(missing),
            seconds(begin - missing),
        )))
    }
}

impl Demuxer for Flac {
    fn container(&self) -> &'static str {
        "flac"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, _track: usize) {}

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        if let Some(packet) = self.held.take() {
            return Ok(Some(packet));
        }
        loop {
            match self.reader.next_packet() {
                Ok(Some(packet)) => {
                    let begin = packet.pts.get();
                    let packet = Packet {
                        frames: packet.block_dur().get(),
                        data: packet.data.into_vec(),
                        change: self.change.take(),
                        ..Packet::default()
                    };
                    return self.complete(begin, packet).map(Some);
                }
                Ok(None) => {}
                Err(MediaError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(MediaError::IoError(error)) => return Err(Fault::Io(error)),
                Err(error) => return Err(Fault::Damaged(error.to_string())),
            }
            if !self.begin_next()? {
                return Ok(None);
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending::Unknown
    }
}

/// The bytes of one stream for the library: its description in place of all blocks, then its frames
/// up to where tags or another stream begin.
struct StreamBytes {
    source: Arc<Mutex<Source>>,
    head: Vec<u8>,
    /// Where the frames begin in the source.
    frames: u64,
    position: u64,
    seam: Arc<OnceLock<Seam>>,
}

impl Read for StreamBytes {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let head = self.head.len() as u64;
        let n = if self.position < head {
            let left = &self.head[self.position as usize..];
            let n = left.len().min(buf.len());
            buf[..n].copy_from_slice(&left[..n]);
            n
        } else {
            self.read_frames(self.position - head + self.frames, buf)?
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl StreamBytes {
    fn read_frames(&self, at: u64, buf: &mut [u8]) -> IoResult<usize> {
        let end = self.seam.get().map_or(u64::MAX, |seam| seam.end);
        let wanted = end.saturating_sub(at).min(buf.len() as u64) as usize;
        let mut source = lock(&self.source);
        let n = source.read_at(at, &mut buf[..wanted])?;
        for candidate in candidates(&buf[..n]) {
            if let Some(seam) = seam(&mut source, at + candidate as u64)? {
                self.seam.get_or_init(|| seam);
                return Ok(candidate);
            }
        }
        Ok(n)
    }
}

/// Where a stream or a tag may begin, in order; the last bytes may hold no more than a part of its
/// letters.
fn candidates(bytes: &[u8]) -> Vec<usize> {
    let whole = BEGINNINGS
        .iter()
        .flat_map(|letters| memmem::find_iter(bytes, letters));
    let cut = (bytes.len().saturating_sub(BEGIN_BYTES - 1)..bytes.len()).filter(|at| {
        BEGINNINGS
            .iter()
            .any(|letters| letters.starts_with(&bytes[*at..]))
    });
    let mut found: Vec<usize> = whole.chain(cut).collect();
    found.sort_unstable();
    found
}

/// The seam that begins with `end`: tags up to the file's end or another stream, or just the latter.
fn seam(source: &mut Source, end: u64) -> IoResult<Option<Seam>> {
    let mut at = end;
    for _ in 0..=MAX_TAGS {
        // Frames hold the three letters of a tag by chance: one that does not end with the file is none.
        if at >= source.len() {
            let ends = at == source.len();
            return Ok(ends.then_some(Seam { end, next: None }));
        }
        if source.array(at)?.is_some_and(|bytes| begins_stream(&bytes)) {
            let next = Some(at);
            return Ok(Some(Seam { end, next }));
        }
        match tag_bytes(source, at)? {
            0 => break,
            tag => at = at.saturating_add(tag),
        }
    }
    Ok(None)
}

fn begins_stream(bytes: &[u8; BEGIN_BYTES]) -> bool {
    bytes[..4] == *MARKER && bytes[4] & 0x7f == 0 && bytes[5..] == [0, 0, STREAM_INFO_BYTES as u8]
}

impl Seek for StreamBytes {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let len = self.byte_len().unwrap_or(0);
        self.position = sought(to, self.position, len)?;
        Ok(self.position)
    }
}

impl MediaSource for StreamBytes {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        let frames = lock(&self.source).len().saturating_sub(self.frames);
        Some(self.head.len() as u64 + frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Input, Limits};

    #[test]
    fn letters_of_a_tag_inside_a_frame_are_none() {
        let ends = |bytes: &[u8]| {
            let input = Input::from(bytes.to_vec());
            let mut source = Source::open(input, &Limits::default()).unwrap();
            seam(&mut source, 4).unwrap().map(|seam| seam.end)
        };
        let with = |tag: &[u8], behind: usize| [b"1234", tag, &vec![7; behind]].concat();
        let (id3, old) = (
            b"ID3\x04\0\0\0\0\0\x20",
            [b"TAG".as_slice(), &[0; 125]].concat(),
        );
        assert_eq!(ends(&with(id3, 32)), Some(4));
        assert_eq!(ends(&with(&old, 0)), Some(4));
        for chance in [
            with(id3, 31),
            with(id3, 33),
            with(&old, 1),
            with(&old[..100], 0),
        ] {
            assert_eq!(ends(&chance), None, "{} bytes", chance.len());
        }
    }

    #[test]
    fn beginnings_are_found_where_a_read_cuts_them() {
        let bytes = b"fLaC..ID3.TAGID..APETAGEX.fLa";
        assert_eq!(candidates(bytes), [0, 6, 10, 17, 20, 26]);
        assert_eq!(candidates(b"xAPETAGE"), [1, 4]);
        assert_eq!(candidates(b"xAPETAGx"), [4]);
        assert_eq!(candidates(b""), [0; 0]);
    }

    #[test]
    fn blocks_that_other_containers_keep() {
        let mut info = [0; STREAM_INFO_BYTES];
        info[10..13].copy_from_slice(&[0x03, 0xe8, 0x04]);
        let mask = b"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0xB";
        let comments = [b"\x04\0\0\x25", &mask[..]].concat();
        let bytes = [b"fLaC\x01\0\0\x01x\0\0\0\x22", &info[..], &comments].concat();
        for begin in [0, 4] {
            let mut params = AudioCodecParameters::new();
            describe(&bytes[begin..], &mut params);
            assert_eq!(params.sample_rate, Some(16_000));
            assert_eq!(params.extra_data.as_deref(), Some(&info[..]));
            assert_eq!(params.channels, places::commented(mask, 3));
            assert!(params.channels.is_some());
        }
        // Without comments, and cut off inside the description.
        let mut params = AudioCodecParameters::new();
        describe(&bytes[..13 + STREAM_INFO_BYTES], &mut params);
        assert_eq!(params.channels, Some(blocks::unplaced(3)));
        let mut params = AudioCodecParameters::new();
        describe(&bytes[..12], &mut params);
        assert_eq!(params.extra_data, None);
    }
}
