//! Ogg, which symphonia demuxes, from pages that [`pages`] has made good.
//!
//! Frames that come count: only the last page of a stream may say that its end is none of the
//! recording.

mod page;
mod pages;
mod positions;

use std::collections::VecDeque;
use std::io::Result as IoResult;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, CODEC_ID_NULL_AUDIO};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::{FormatOptions, FormatReader, Track as MediaTrack};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::formats::OggReader;

use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::names::OGG_STREAMS;
use crate::audio::opus::OpusHead;
use crate::audio::places;
use crate::audio::source::Source;
use page::{CHECKSUM, MARKER, Page, checksum};
use pages::{Found, Pages};

/// First bytes of an Ogg file that are searched for the names of its streams, and for the places of
/// FLAC's channels.
const OGG_HEAD_BYTES: u64 = 8 << 10;
/// A length that no recording has: positions that are none read as such.
const MAX_FRAMES: u64 = 1 << 48;

/// An Ogg file.
struct Ogg {
    /// `None` where the library finds no stream that it knows.
    reader: Option<OggReader<'static>>,
    tracks: Vec<Track>,
    /// The library's number of each of the tracks, and of the chosen one.
    ids: Vec<u32>,
    id: u32,
    /// Parameters since a chained stream began.
    change: Option<Box<Change>>,
    found: Arc<Mutex<Found>>,
    /// Packets with padding, which is heard where something that is none follows.
    padded: VecDeque<Packet>,
    /// Something did: the positions of this stream say nothing of padding.
    has_false_padding: bool,
    ready: VecDeque<Packet>,
}

/// What comes next in the chosen stream.
enum Step {
    Packet(Packet),
    /// A chained stream begins.
    Seam,
    End,
}

/// Opens an Ogg file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let head = source.upto(0, OGG_HEAD_BYTES)?;
    let found = Arc::default();
    let bytes = Box::new(Pages::new(source, Arc::clone(&found)));
    let bytes = MediaSourceStream::new(bytes, MediaSourceStreamOptions::default());
    let (reader, error) = match OggReader::try_new(bytes, FormatOptions::default()) {
        Ok(reader) => (Some(reader), String::new()),
        Err(error) => (None, error.to_string()),
    };
    let mut ogg = Ogg::new(reader, found);
    if ogg.tracks.is_empty() {
        ogg.tracks = named(&head);
    }
    for Track { params, .. } in &mut ogg.tracks {
        let count = params.channels.as_ref().map_or(0, Channels::count);
        if params.codec == CODEC_ID_FLAC
            && let Some(places) = places::commented(&head, count)
        {
            params.with_channels(places);
        }
    }
    if ogg.reader.is_none() && ogg.tracks.is_empty() {
        return Ok(Err(error));
    }
    Ok(Ok(Box::new(ogg)))
}

/// Where the first page of a stream begins whose checksum is right, wherever that is.
pub(in crate::audio) fn first_page(bytes: &[u8]) -> Option<usize> {
    let is_sound = |page: &Page<'_>, bytes: &[u8]| {
        page.is_first && bytes[CHECKSUM] == checksum(&bytes[..page.bytes]).to_le_bytes()
    };
    let begins = bytes.windows(MARKER.len()).enumerate();
    let mut begins = begins
        .filter(|(_, bytes)| bytes == MARKER)
        .map(|(at, _)| at);
    begins.find(|at| Page::read(&bytes[*at..]).is_some_and(|page| is_sound(&page, &bytes[*at..])))
}

/// Tracks for the streams that nothing here decodes, from the pages that begin a file.
fn named(head: &[u8]) -> Vec<Track> {
    let (mut tracks, mut rest) = (Vec::new(), head);
    while let Some(page) = Page::read(rest).filter(|page| page.is_first) {
        let starts = |(first, _): &&(&[u8], &str)| page.body.starts_with(first);
        let (codec, obstacle) = match vorbis_fault(page.body).or_else(|| opus_fault(page.body)) {
            Some((codec, fault)) => (Some(codec), Some(fault.to_owned())),
            None => (OGG_STREAMS.iter().find(starts).map(|(_, name)| *name), None),
        };
        tracks.extend(codec.map(|codec| Track {
            obstacle,
            codec: Some(codec.to_owned()),
            ..Track::default()
        }));
        rest = &rest[page.bytes..];
    }
    tracks
}

/// What is wrong with a header of Vorbis or of Opus, by the codec's name.
type HeaderFault = (&'static str, &'static str);

fn vorbis_fault(packet: &[u8]) -> Option<HeaderFault> {
    let head = packet.strip_prefix(b"\x01vorbis\0\0\0\0")?;
    match head.first_chunk::<5>()? {
        [0, ..] => Some(("Vorbis", "0 channels make no sense")),
        [_, 0, 0, 0, 0] => Some(("Vorbis", "a sample rate of 0 Hz makes no sense")),
        _ => None,
    }
}

fn opus_fault(packet: &[u8]) -> Option<HeaderFault> {
    let fault = OpusHead::read(packet).err()?;
    packet.starts_with(b"Opus").then_some(("Opus", fault))
}

impl Ogg {
    fn new(reader: Option<OggReader<'static>>, found: Arc<Mutex<Found>>) -> Self {
        let mut ogg = Self {
            reader,
            tracks: Vec::new(),
            ids: Vec::new(),
            id: 0,
            change: None,
            found,
            padded: VecDeque::new(),
            has_false_padding: false,
            ready: VecDeque::new(),
        };
        for (track, params, id) in ogg.streams() {
            ogg.tracks.push(described(&track, params));
            ogg.ids.push(id);
        }
        if ogg.found().has_moved {
            ogg.tracks
                .iter_mut()
                .for_each(|track| track.duration_s = None);
        }
        ogg
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The library's audio tracks, with the headers that it did not get to see.
    fn streams(&self) -> Vec<(MediaTrack, AudioCodecParameters, u32)> {
        let found = self.found();
        let tracks = self.reader.as_ref().map_or(&[][..], OggReader::tracks);
        let with_head = |track: &MediaTrack| {
            let mut params = audio(track)?.clone();
            if let Some(head) = found.heads.get(&track.id) {
                params.with_extra_data(head.clone().into());
            }
            Some((track.clone(), params, track.id))
        };
        tracks.iter().filter_map(with_head).collect()
    }

    /// A chained stream began: its first audio track goes on as the chosen one.
    fn restart(&mut self) {
        let mut streams = self.streams().into_iter();
        let decoded = streams.find(|(_, params, _)| params.codec != CODEC_ID_NULL_AUDIO);
        let Some((_, params, id)) = decoded else {
            return;
        };
        self.id = id;
        let skip_frames = Some(pre_skip(&params));
        self.change = Some(Box::new(Change {
            params,
            skip_frames,
        }));
    }

    /// Hands a packet on, or keeps it back if its padding may be that of the stream's end.
    fn queue(&mut self, mut packet: Packet) {
        let has_sound = packet.trim_end == 0 || packet.trim_end < packet.frames;
        self.has_false_padding |= has_sound && !self.padded.is_empty();
        if self.has_false_padding {
            packet.trim_end = 0;
            let padded = self.padded.drain(..);
            let unpadded = |packet| Packet {
                trim_end: 0,
                ..packet
            };
            self.ready.extend(padded.map(unpadded));
        }
        match packet.trim_end {
            0 => self.ready.push_back(packet),
            _ => self.padded.push_back(packet),
        }
    }

    /// Pages that were damaged since this was asked last.
    fn damage(&self) -> Option<Fault> {
        let at = self.found().damaged.take()?;
        let what = format!("the checksum of the page at byte {at} is wrong");
        Some(Fault::Damaged(what))
    }

    fn step(&mut self) -> Result<Step, Fault> {
        let Some(reader) = &mut self.reader else {
            return Ok(Step::End);
        };
        loop {
            match reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.id => {
                    return Ok(Step::Packet(Packet {
                        frames: packet.block_dur().get(),
                        trim_start: packet.trim_start.get(),
                        trim_end: packet.trim_end.get(),
                        data: packet.data.into_vec(),
                        change: self.change.take(),
                        at_s: None,
                    }));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Step::End),
                Err(MediaError::ResetRequired) => return Ok(Step::Seam),
                Err(MediaError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(Step::End);
                }
                Err(MediaError::IoError(error)) => return Err(Fault::Io(error)),
                Err(error) => return Err(Fault::Damaged(error.to_string())),
            }
        }
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

fn described(track: &MediaTrack, params: AudioCodecParameters) -> Track {
    let rate = f64::from(params.sample_rate.unwrap_or(48_000).max(1));
    let start = track
        .time_base
        .and_then(|base| base.calc_time(track.start_ts));
    let frames = track.num_frames.filter(|frames| *frames < MAX_FRAMES);
    Track {
        duration_s: frames.map(|frames| frames as f64 / rate),
        start_s: start.map_or(0.0, |time| time.as_secs_f64().max(0.0)),
        skip_frames: pre_skip(&params),
        params,
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
            if let Some(packet) = self.ready.pop_front() {
                return Ok(Some(packet));
            }
            if let Some(damage) = self.damage() {
                return Err(damage);
            }
            match self.step()? {
                Step::Packet(packet) => self.queue(packet),
                Step::Seam => {
                    self.ready.append(&mut self.padded);
                    self.has_false_padding = false;
                    self.restart();
                }
                // The last page may be the damaged one.
                Step::End if self.padded.is_empty() => return self.damage().map_or(Ok(None), Err),
                Step::End => self.ready.append(&mut self.padded),
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending::Unknown
    }
}
