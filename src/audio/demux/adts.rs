//! AAC in frames of its own transport (ADTS), each with a header that says all a decoder needs.

use std::io::Result as IoResult;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;

use super::{Change, Demuxer, Ending, Fault, Packet, Track, blocks};
use crate::audio::aac;
use crate::audio::source::Source;
use crate::audio::tags::tag_bytes;

const HEADER_BYTES: u64 = 7;
const CHECKSUM_BYTES: u64 = 2;
const FRAME_SAMPLES: u64 = 1024;
/// Frames that the length of the recording is guessed from.
const GUESSED_FRAMES: u64 = 128;
/// Bytes that are searched at once for the next frame.
const SEARCH_BYTES: u64 = 64 << 10;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audio) struct Header {
    /// The object type less one.
    profile: u8,
    rate: u32,
    channels: u8,
    /// Bytes before the payload, and of the frame with them.
    head: u64,
    pub(in crate::audio) bytes: u64,
    blocks: u8,
}

impl Header {
    pub(in crate::audio) fn read(bytes: &[u8; 7]) -> Option<Self> {
        if bytes[0] != 0xff || bytes[1] & 0xf6 != 0xf0 {
            return None;
        }
        let rate = *aac::RATES.get(usize::from(bytes[2] >> 2 & 15))?;
        let length =
            u64::from(bytes[3] & 3) << 11 | u64::from(bytes[4]) << 3 | u64::from(bytes[5] >> 5);
        let has_checksum = bytes[1] & 1 == 0;
        let head = HEADER_BYTES + if has_checksum { CHECKSUM_BYTES } else { 0 };
        (length > head).then_some(Self {
            profile: bytes[2] >> 6,
            rate,
            channels: (bytes[2] & 1) << 2 | bytes[3] >> 6,
            head,
            bytes: length,
            blocks: bytes[6] & 3,
        })
    }

    pub(in crate::audio) fn at(source: &mut Source, offset: u64) -> IoResult<Option<Self>> {
        Ok(source.array(offset)?.and_then(|bytes| Self::read(&bytes)))
    }

    /// Whether a decoder can go on from the one to the other.
    pub(in crate::audio) fn agrees(&self, other: &Self) -> bool {
        let of = |h: &Self| (h.profile, h.rate, h.channels);
        of(self) == of(other)
    }

    fn params(&self) -> AudioCodecParameters {
        let channels = u32::from(self.channels);
        let mut params = blocks::params(codecs::CODEC_ID_AAC, self.rate, channels);
        if channels == 0 {
            params.channels = None;
        }
        params
    }

    /// The name of what cannot be decoded.
    fn name(&self) -> Option<String> {
        let profile = match self.profile {
            0 => "AAC (Main)",
            1 => match self.channels {
                1 | 2 => return None,
                0 => "AAC (LC, layout in the stream)",
                3 => "AAC (LC, 3.0)",
                4 => "AAC (LC, 4.0)",
                5 => "AAC (LC, 5.0)",
                6 => "AAC (LC, 5.1)",
                _ => "AAC (LC, 7.1)",
            },
            2 => "AAC (SSR)",
            _ => "AAC (LTP)",
        };
        Some(profile.to_owned())
    }
}

/// A stream of frames.
pub(in crate::audio) struct Adts {
    source: Source,
    tracks: [Track; 1],
    at: u64,
    /// The last frame's header, none behind a gap, and the decoder's.
    last: Option<Header>,
    current: Option<Header>,
}

impl Adts {
    pub(in crate::audio) fn open(mut source: Source, start: u64) -> IoResult<Self> {
        let mut track = Track::default();
        let (mut at, mut frames) = (start, 0);
        while let Some(header) = Header::at(&mut source, at)?.filter(|_| frames < GUESSED_FRAMES) {
            if frames == 0 {
                track.params = header.params();
                track.codec = header.name();
            }
            frames += 1;
            at += header.bytes;
        }
        let mean = (at.min(source.len()) - start) / frames.max(1);
        let rate = f64::from(track.params.sample_rate.unwrap_or(1));
        let guessed = (source.len() - start) / mean.max(1) * FRAME_SAMPLES;
        track.duration_s = Some(guessed as f64 / rate);
        Ok(Self {
            source,
            tracks: [track],
            at: start,
            last: None,
            current: None,
        })
    }

    /// Whether a frame begins here: one that goes on as before, or that another follows.
    fn frame_at(&mut self, at: u64) -> IoResult<Option<Header>> {
        let Some(header) = Header::at(&mut self.source, at)? else {
            return Ok(None);
        };
        let next = at + header.bytes;
        let is_sure = self.last.is_some_and(|last| last.agrees(&header))
            || next == self.source.len()
            || Header::at(&mut self.source, next)?.is_some_and(|next| next.agrees(&header))
            || tag_bytes(&mut self.source, next)? > 0;
        Ok(is_sure.then_some(header))
    }
}

impl Demuxer for Adts {
    fn container(&self) -> &'static str {
        "aac"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, _: usize) {}

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        let mut skipped = 0;
        let header = loop {
            if self.at + HEADER_BYTES > self.source.len() {
                return Ok(None);
            }
            if let Some(header) = self.frame_at(self.at)? {
                break header;
            }
            let tag = tag_bytes(&mut self.source, self.at)?;
            let by = match tag {
                0 => {
                    let bytes = self.source.upto(self.at + 1, SEARCH_BYTES)?;
                    let found = bytes
                        .iter()
                        .position(|byte| matches!(byte, 0xff | b'I' | b'T' | b'A'));
                    let by = 1 + found.unwrap_or(bytes.len()) as u64;
                    skipped += by;
                    by
                }
                tag => tag,
            };
            self.at += by;
        };
        if skipped > 0 && self.last.take().is_some() {
            return Err(Fault::Damaged(format!("{skipped} bytes that are no AAC")));
        }
        let start = self.at + header.head;
        let size = header.bytes - header.head;
        let data = self.source.upto(start, size)?;
        if (data.len() as u64) < size {
            return Ok(None);
        }
        self.at += header.bytes;
        let is_new = self.current.is_some_and(|last| !last.agrees(&header));
        if let Some(codec) = header.name().filter(|_| is_new) {
            let reason = "no decoder for it".to_owned();
            return Err(Fault::Undecodable { codec, reason });
        }
        (self.last, self.current) = (Some(header), Some(header));
        if header.blocks > 0 {
            return Err(Fault::Damaged("several AAC blocks in one frame".to_owned()));
        }
        Ok(Some(Packet {
            data,
            frames: FRAME_SAMPLES,
            change: is_new.then(|| {
                Box::new(Change {
                    params: header.params(),
                    skip_frames: None,
                })
            }),
            ..Packet::default()
        }))
    }

    fn ending(&self) -> Ending {
        Ending::Whole
    }
}
