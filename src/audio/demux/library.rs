//! FLAC and Ogg, which symphonia demuxes. It gets to see the parts that it needs and no others.

use std::io::Result as IoResult;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, CODEC_ID_NULL_AUDIO};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::{FormatOptions, FormatReader, Track as MediaTrack};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::formats::{FlacReader, OggReader};

use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::names::OGG_STREAMS;
use crate::audio::opus::OpusHead;
use crate::audio::source::{Source, Spliced};

/// Blocks before the first FLAC frame that are looked at.
const MAX_BLOCKS: usize = 4096;
const STREAM_INFO_BYTES: usize = 34;
/// First bytes of an Ogg file that are searched for the names of its streams.
const OGG_HEAD_BYTES: u64 = 8 << 10;

/// A file that symphonia demuxes.
pub(in crate::audio) struct Library {
    format: Box<dyn FormatReader>,
    container: &'static str,
    tracks: Vec<Track>,
    /// The library's number of each of the tracks, and of the chosen one.
    ids: Vec<u32>,
    id: u32,
    /// Parameters since a chained stream began.
    change: Option<Box<Change>>,
    ending: Ending,
}

/// Opens a FLAC file; an error says what it lacks. Of its blocks symphonia sees the stream's
/// description alone, without a count of frames: the file's end is the end.
pub(in crate::audio) fn flac(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let (mut at, mut info, mut frames) = (4, None, 4);
    for _ in 0..MAX_BLOCKS {
        let Some([kind, size @ ..]) = source.array::<4>(at)? else {
            break;
        };
        if kind == 0xff {
            break;
        }
        let size = u64::from(u32::from_be_bytes([0, size[0], size[1], size[2]]));
        if kind & 0x7f == 0 && info.is_none() {
            info = source.array::<STREAM_INFO_BYTES>(at + 4)?;
        }
        at += 4 + size;
        if at > source.len() {
            break;
        }
        frames = at;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let Some(mut info) = info else {
        return Ok(Err("the description of its stream is missing".to_owned()));
    };
    let rate = u32::from_be_bytes([0, info[10], info[11], info[12]]) >> 4;
    let total = u64::from(info[13] & 15) << 32
        | u64::from(u32::from_be_bytes([info[14], info[15], info[16], info[17]]));
    info[13] &= 0xf0;
    info[14..].fill(0);
    let head = [b"fLaC\x80\0\0\x22".as_slice(), &info].concat();
    let stream = stream(Spliced::new(source, head, frames));
    let opened = FlacReader::try_new(stream, FormatOptions::default());
    Ok(opened.map_err(|error| error.to_string()).map(|format| {
        let mut library = Library::new(Box::new(format), "flac");
        for track in &mut library.tracks {
            let seconds = total as f64 / f64::from(rate.max(1));
            track.duration_s = Some(seconds).filter(|_| total > 0);
        }
        Box::new(library) as Box<dyn Demuxer>
    }))
}

/// Opens an Ogg file; an error says what it lacks.
pub(in crate::audio) fn ogg(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let head = source.upto(0, OGG_HEAD_BYTES)?;
    let undecoded = OGG_STREAMS.iter().filter(|(first, _)| {
        let starts = head.windows(first.len()).any(|bytes| bytes == *first);
        starts && !first.is_empty()
    });
    let undecoded: Vec<&str> = undecoded.map(|(_, name)| *name).collect();
    let stream = stream(Spliced::new(source, Vec::new(), 0));
    let opened = OggReader::try_new(stream, FormatOptions::default());
    Ok(opened.map_err(|error| error.to_string()).map(|format| {
        let mut library = Library::new(Box::new(format), "ogg");
        if library.tracks.is_empty() {
            library.tracks.extend(undecoded.iter().map(|name| Track {
                codec: Some((*name).to_owned()),
                ..Track::default()
            }));
        }
        Box::new(library) as Box<dyn Demuxer>
    }))
}

fn stream(source: Spliced) -> MediaSourceStream<'static> {
    MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default())
}

impl Library {
    fn new(format: Box<dyn FormatReader>, container: &'static str) -> Self {
        let mut library = Self {
            format,
            container,
            tracks: Vec::new(),
            ids: Vec::new(),
            id: 0,
            change: None,
            ending: Ending::Unknown,
        };
        for track in library.format.tracks() {
            if let Some(params) = audio(track) {
                library.tracks.push(described(track, params));
                library.ids.push(track.id);
            }
        }
        library
    }

    /// A chained stream began: its first audio track goes on as the chosen one.
    fn restart(&mut self) {
        let found = self.format.tracks().iter().find_map(|track| {
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

impl Demuxer for Library {
    fn container(&self) -> &'static str {
        self.container
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, track: usize) {
        self.id = self.ids.get(track).copied().unwrap_or(0);
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.id => {
                    let is_trimmed = self.container == "ogg";
                    let trim = |frames: u64| if is_trimmed { frames } else { 0 };
                    return Ok(Some(Packet {
                        frames: packet.block_dur().get(),
                        trim_start: trim(packet.trim_start.get()),
                        trim_end: trim(packet.trim_end.get()),
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
        self.ending
    }
}
