//! Ogg, which symphonia demuxes. The comments of an Opus stream, which nobody asked for and of which
//! it refuses the ill-formed, it gets to see empty.

use std::io::{Read, Result as IoResult, Seek, SeekFrom};

use symphonia::core::checksum::Crc32;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, CODEC_ID_NULL_AUDIO};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::{FormatOptions, FormatReader, Track as MediaTrack};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, Monitor};
use symphonia::default::formats::OggReader;

use super::seeking::sought;
use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::names::OGG_STREAMS;
use crate::audio::opus::OpusHead;
use crate::audio::source::Source;

/// First bytes of an Ogg file that are searched for the names of its streams.
const OGG_HEAD_BYTES: u64 = 8 << 10;
const PAGE_MARKER: &[u8; 4] = b"OggS";
/// A page's header without its table of segments; RFC 3533, section 6.
const PAGE_HEADER_BYTES: usize = 27;
/// Where the header has the page's checksum.
const PAGE_CHECKSUM: std::ops::Range<usize> = 22..26;
/// Bytes outside of pages that are read at once.
const BLOCK_BYTES: u64 = 4096;
/// How the comments of an Opus stream begin; RFC 7845, section 5.2.
const OPUS_TAGS: &[u8; 8] = b"OpusTags";

/// An Ogg file.
struct Ogg {
    reader: OggReader<'static>,
    tracks: Vec<Track>,
    /// The library's number of each of the tracks, and of the chosen one.
    ids: Vec<u32>,
    id: u32,
    /// Parameters since a chained stream began.
    change: Option<Box<Change>>,
}

/// Opens an Ogg file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let head = source.upto(0, OGG_HEAD_BYTES)?;
    let undecoded = OGG_STREAMS.iter().filter(|(first, _)| {
        let starts = head.windows(first.len()).any(|bytes| bytes == *first);
        starts && !first.is_empty()
    });
    let undecoded: Vec<&str> = undecoded.map(|(_, name)| *name).collect();
    let bytes = Box::new(Pages::new(source));
    let bytes = MediaSourceStream::new(bytes, MediaSourceStreamOptions::default());
    let opened = OggReader::try_new(bytes, FormatOptions::default());
    Ok(opened.map_err(|error| error.to_string()).map(|reader| {
        let mut ogg = Ogg::new(reader);
        if ogg.tracks.is_empty() {
            ogg.tracks.extend(undecoded.iter().map(|name| Track {
                codec: Some((*name).to_owned()),
                ..Track::default()
            }));
        }
        Box::new(ogg) as Box<dyn Demuxer>
    }))
}

impl Ogg {
    fn new(reader: OggReader<'static>) -> Self {
        let (tracks, ids) = reader
            .tracks()
            .iter()
            .filter_map(|track| Some((described(track, audio(track)?), track.id)))
            .unzip();
        Self {
            reader,
            tracks,
            ids,
            id: 0,
            change: None,
        }
    }

    /// A chained stream began: its first audio track goes on as the chosen one.
    fn restart(&mut self) {
        let found = self.reader.tracks().iter().find_map(|track| {
            let params = audio(track)?;
            (params.codec != CODEC_ID_NULL_AUDIO).then(|| (track.id, params.clone()))
        });
        let Some((id, params)) = found else {
            return;
        };
        self.id = id;
        let skip_frames = Some(pre_skip(&params));
        self.change = Some(Box::new(Change {
            params,
            skip_frames,
        }));
    }
}

fn audio(track: &MediaTrack) -> Option<&AudioCodecParameters> {
    match &track.codec_params {
        Some(CodecParameters::Audio(params)) => Some(params),
        _ => None,
    }
}

fn pre_skip(params: &AudioCodecParameters) -> u64 {
    let head = params.extra_data.as_deref().map(OpusHead::read);
    match head {
        Some(Ok(head)) if params.codec == CODEC_ID_OPUS => u64::from(head.pre_skip),
        _ => 0,
    }
}

fn described(track: &MediaTrack, params: &AudioCodecParameters) -> Track {
    let rate = f64::from(params.sample_rate.unwrap_or(48_000).max(1));
    let start = track
        .time_base
        .and_then(|base| base.calc_time(track.start_ts));
    Track {
        params: params.clone(),
        duration_s: track.num_frames.map(|frames| frames as f64 / rate),
        start_s: start.map_or(0.0, |time| time.as_secs_f64().max(0.0)),
        skip_frames: pre_skip(params),
        ..Track::default()
    }
}

impl Demuxer for Ogg {
    fn container(&self) -> &'static str {
        "ogg"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, track: usize) {
        self.id = self.ids.get(track).copied().unwrap_or(0);
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.id => {
                    return Ok(Some(Packet {
                        frames: packet.block_dur().get(),
                        trim_start: packet.trim_start.get(),
                        trim_end: packet.trim_end.get(),
                        data: packet.data.into_vec(),
                        change: self.change.take(),
                        at_s: None,
                    }));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(MediaError::ResetRequired) => self.restart(),
                Err(MediaError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(None);
                }
                Err(MediaError::IoError(error)) => return Err(Fault::Io(error)),
                Err(error) => return Err(Fault::Damaged(error.to_string())),
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending::Unknown
    }
}

/// The bytes of an Ogg file for the library, page by page.
struct Pages {
    source: Source,
    position: u64,
    /// The page, or what lies between pages, that begins at `at`.
    page: Vec<u8>,
    at: u64,
}

impl Pages {
    fn new(source: Source) -> Self {
        Self {
            source,
            position: 0,
            page: Vec::new(),
            at: 0,
        }
    }

    /// Makes `page` hold the byte at `position`, or nothing at the file's end.
    fn load(&mut self) -> IoResult<()> {
        if (self.at..self.at + self.page.len() as u64).contains(&self.position) {
            return Ok(());
        }
        self.at = self.position;
        self.page = match self.page_len()? {
            Some(len) => self.source.upto(self.at, len)?,
            None => self.source.upto(self.at, BLOCK_BYTES)?,
        };
        if self.page.starts_with(PAGE_MARKER) {
            blank_comments(&mut self.page);
            return Ok(());
        }
        let markers = self.page.windows(PAGE_MARKER.len());
        let next = markers.clone().position(|bytes| bytes == PAGE_MARKER);
        if let Some(next) = next {
            self.page.truncate(next);
        } else if self.page.len() as u64 == BLOCK_BYTES {
            // A marker may lie across this block's end.
            self.page.truncate(markers.len());
        }
        Ok(())
    }

    /// Bytes of the page at `at`, if one begins there.
    fn page_len(&mut self) -> IoResult<Option<u64>> {
        let header = self.source.upto(self.at, PAGE_HEADER_BYTES as u64 + 255)?;
        if !header.starts_with(PAGE_MARKER) {
            return Ok(None);
        }
        let Some(segments) = segments(&header) else {
            return Ok(Some(header.len() as u64));
        };
        let body: u64 = segments.iter().map(|len| u64::from(*len)).sum();
        Ok(Some((PAGE_HEADER_BYTES + segments.len()) as u64 + body))
    }
}

/// The lengths of a page's segments, if its header is whole.
fn segments(page: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*page.get(PAGE_HEADER_BYTES - 1)?);
    page.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + count)
}

/// Where an Opus stream's comments begin in `page`, makes them none: a maker's name of no length and
/// a count of zero, for which the format allows any bytes to follow.
fn blank_comments(page: &mut [u8]) {
    const COUNTS: usize = 8;
    let Some(segments) = segments(page) else {
        return;
    };
    let body = PAGE_HEADER_BYTES + segments.len();
    let body_len: usize = segments.iter().map(|len| usize::from(*len)).sum();
    let packet = segments
        .iter()
        .scan(true, |goes_on, len| {
            std::mem::replace(goes_on, *len == 255).then_some(*len)
        })
        .map(usize::from)
        .sum::<usize>();
    let counts = body + OPUS_TAGS.len();
    if page[body..].starts_with(OPUS_TAGS)
        && packet >= OPUS_TAGS.len() + COUNTS
        && page.len() == body + body_len
    {
        page[counts..counts + COUNTS].fill(0);
        page[PAGE_CHECKSUM].fill(0);
        let mut checksum = Crc32::new(0);
        checksum.process_buf_bytes(page);
        page[PAGE_CHECKSUM].copy_from_slice(&checksum.crc().to_le_bytes());
    }
}

impl Read for Pages {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        self.load()?;
        let from = (self.position - self.at) as usize;
        let bytes = self.page.get(from..).unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Pages {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.position = sought(to, self.position, self.source.len())?;
        Ok(self.position)
    }
}

impl MediaSource for Pages {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.source.len())
    }
}
