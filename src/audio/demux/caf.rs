//! Core Audio Format: a description, the data, and for packets of unequal size a table of them.
//!
//! A size of -1 is a stream that goes on to the end of the file.

use std::io::Result as IoResult;

use symphonia::core::codecs::audio::well_known as codecs;

use super::aiff::IMA4;
use super::blocks::{self, Block, Blocks, Extent, MAX_LAYOUT_BYTES, Pcm, PcmKind};
use super::{Demuxer, Ending, Fault, Packet, Track};
use crate::audio::aac::{self, Descriptor};
use crate::audio::names::{self, Coded};
use crate::audio::source::Source;

/// Chunks looked at before a file is given up.
const MAX_CHUNKS: usize = 4096;
const HEADER_BYTES: u64 = 12;
/// The data begins with a count of edits.
const EDIT_COUNT_BYTES: u64 = 4;
const DESCRIPTION_BYTES: usize = 32;
/// Most bytes of a table or a configuration.
const MAX_TABLE_BYTES: u64 = 256 << 20;
const PACKET_TABLE_HEADER_BYTES: usize = 24;

/// Opens a CAF file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let (mut description, mut data, mut table) = (None, None, None);
    let (mut cookie, mut layout) = (Vec::new(), Vec::new());
    let mut at = 8;
    for _ in 0..MAX_CHUNKS {
        let Some(head) = source.array::<12>(at)? else {
            break;
        };
        let [a, b, c, d, size @ ..] = head;
        let size = u64::from_be_bytes(size);
        let start = at + HEADER_BYTES;
        match &[a, b, c, d] {
            b"desc" => description = source.array::<DESCRIPTION_BYTES>(start)?,
            b"kuki" => cookie = source.upto(start, size.min(MAX_TABLE_BYTES))?,
            b"chan" => layout = source.upto(start, size.min(MAX_LAYOUT_BYTES))?,
            b"pakt" => table = Some(source.upto(start, size.min(MAX_TABLE_BYTES))?),
            b"data" => data = Some((start + EDIT_COUNT_BYTES, size)),
            _ => {}
        }
        match start.checked_add(size) {
            Some(next) => at = next,
            None => break,
        }
    }
    let Some(description) = description.map(|bytes| Description::read(&bytes)) else {
        return Ok(Err("its description is missing or too short".to_owned()));
    };
    let Some((start, size)) = data else {
        return Ok(Err("it has no data chunk".to_owned()));
    };
    let is_open = i64::try_from(size).is_err() || size < EDIT_COUNT_BYTES;
    let extent = Extent {
        start,
        promised: (!is_open).then(|| size - EDIT_COUNT_BYTES),
    };
    let mut track = description.track(&cookie);
    blocks::place(&mut track.params, &layout);
    if let Some(block) = description.block() {
        return Ok(Ok(Box::new(Blocks::new(
            source, "caf", track, block, extent,
        ))));
    }
    Ok(Packets::new(source, track, &description, extent, table)
        .map(|packets| Box::new(packets) as Box<dyn Demuxer>))
}

struct Description {
    rate: f64,
    format: [u8; 4],
    flags: u32,
    bytes_per_packet: u32,
    frames_per_packet: u32,
    channels: u32,
    bits: u32,
}

impl Description {
    fn read(bytes: &[u8; DESCRIPTION_BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            rate: f64::from_bits(u64::from(word(0)) << 32 | u64::from(word(4))),
            format: word(8).to_be_bytes(),
            flags: word(12),
            bytes_per_packet: word(16),
            frames_per_packet: word(20),
            channels: word(24),
            bits: word(28),
        }
    }

    fn rate(&self) -> u32 {
        self.rate.round() as u32
    }

    /// Blocks of equal size, where the format has them.
    fn block(&self) -> Option<Block> {
        let channels = u64::from(self.channels);
        match &self.format {
            b"ima4" => Some(Block {
                bytes: IMA4.bytes * channels,
                ..IMA4
            }),
            _ if self.bytes_per_packet > 0 && self.has_blocks() => Some(Block {
                bytes: u64::from(self.bytes_per_packet),
                frames: u64::from(self.frames_per_packet),
            }),
            _ => None,
        }
    }

    fn has_blocks(&self) -> bool {
        let is_adpcm = matches!(
            names::fourcc(self.format),
            Some(Coded::As(
                codecs::CODEC_ID_ADPCM_MS | codecs::CODEC_ID_ADPCM_IMA_WAV
            ))
        );
        self.frames_per_packet == 1 || is_adpcm && self.frames_per_packet > 0
    }

    fn track(&self, cookie: &[u8]) -> Track {
        let (rate, channels) = (self.rate(), self.channels);
        let mut track = Track {
            params: blocks::params(codecs::CODEC_ID_AAC, rate, channels),
            ..Track::default()
        };
        match names::fourcc(self.format) {
            Some(Coded::Pcm) => {
                let bytes = self.bytes_per_packet / channels.max(1);
                let pcm = Pcm {
                    bytes,
                    kind: match self.flags & 1 {
                        1 => PcmKind::Float,
                        _ => PcmKind::Signed,
                    },
                    is_big_endian: self.flags & 2 == 0,
                };
                match pcm.codec() {
                    Some((codec, bits)) => {
                        track.params = blocks::pcm_params(codec, bits, rate, channels);
                    }
                    None => track.codec = Some(format!("PCM of {} bits", self.bits)),
                }
            }
            Some(Coded::As(codecs::CODEC_ID_AAC)) => {
                let config = Descriptor::read(cookie);
                let done = match &config {
                    Some(found) => found.apply(&mut track.params),
                    None => aac::apply(&[], &mut track.params),
                };
                track.codec = done.err();
            }
            Some(Coded::As(codec)) => {
                track.params.for_codec(codec);
                if !cookie.is_empty() {
                    track.params.with_extra_data(alac_config(cookie).into());
                }
            }
            Some(Coded::Undecoded(name)) => track.codec = Some(name.to_owned()),
            None => track.codec = Some(names::unknown(&self.format)),
        }
        track
    }
}

/// ALAC's configuration, which old files wrap into two atoms.
pub(super) fn alac_config(cookie: &[u8]) -> &[u8] {
    let inner = match cookie.get(4..8) {
        Some(b"frma") => cookie.get(24..),
        _ => None,
    };
    inner.unwrap_or(cookie)
}

/// Packets of unequal size.
struct Packets {
    source: Source,
    tracks: [Track; 1],
    /// Bytes and frames of each.
    sizes: Vec<(u32, u32)>,
    next: usize,
    at: u64,
    /// Frames of the encoder's own at the start.
    priming: u64,
    is_cut: bool,
}

impl Packets {
    fn new(
        source: Source,
        mut track: Track,
        description: &Description,
        extent: Extent,
        table: Option<Vec<u8>>,
    ) -> Result<Self, String> {
        let table = table.ok_or("the table of its packets is missing (was it cut off?)")?;
        let head = table
            .get(..PACKET_TABLE_HEADER_BYTES)
            .ok_or("the table of its packets is too short")?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let count = u64::from(word(0)) << 32 | u64::from(word(4));
        let valid = u64::from(word(8)) << 32 | u64::from(word(12));
        let mut rest = &table[PACKET_TABLE_HEADER_BYTES..];
        let (bytes, frames) = (description.bytes_per_packet, description.frames_per_packet);
        let mut sizes = Vec::new();
        while (sizes.len() as u64) < count {
            let size = if bytes > 0 {
                Some(bytes)
            } else {
                number(&mut rest)
            };
            let frames = if frames > 0 {
                Some(frames)
            } else {
                number(&mut rest)
            };
            let (Some(size), Some(frames)) = (size, frames) else {
                break;
            };
            sizes.push((size, frames));
            if bytes > 0 && sizes.len() as u64 >= source.len() {
                break;
            }
        }
        let rate = f64::from(description.rate().max(1));
        track.duration_s = Some(valid as f64 / rate).filter(|s| s.is_finite() && *s < 1e9);
        track.params.max_frames_per_packet = sizes.iter().map(|(_, n)| u64::from(*n)).max();
        let is_aac = track.params.codec == codecs::CODEC_ID_AAC;
        Ok(Self {
            source,
            tracks: [track],
            sizes,
            next: 0,
            at: extent.start,
            priming: if is_aac { u64::from(word(16)) } else { 0 },
            is_cut: false,
        })
    }
}

/// A number of 7 bits a byte, the high bit marking that more follow.
fn number(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value = value.checked_mul(128)? | u32::from(first & 0x7f);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
}

impl Demuxer for Packets {
    fn container(&self) -> &'static str {
        "caf"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, _: usize) {}

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        let Some(&(size, frames)) = self.sizes.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        if self.at + u64::from(size) > self.source.len() {
            self.is_cut = true;
            self.next = self.sizes.len();
            return Ok(None);
        }
        let data = self.source.upto(self.at, u64::from(size))?;
        self.at += u64::from(size);
        let trim_start = self.priming.min(u64::from(frames));
        self.priming -= trim_start;
        Ok(Some(Packet {
            data,
            frames: u64::from(frames),
            trim_start,
            ..Packet::default()
        }))
    }

    fn ending(&self) -> Ending {
        match self.is_cut {
            true => Ending::CutShort,
            false => Ending::Whole,
        }
    }
}
