//! AIFF and AIFF-C: a `COMM` chunk and an `SSND` chunk; the size of `FORM` is not looked at.

use std::io::Result as IoResult;

use super::blocks::{self, Block, Blocks, Extent, MAX_LAYOUT_BYTES, Pcm, PcmKind};
use super::{Demuxer, Track};
use crate::audio::names::{self, Coded};
use crate::audio::source::Source;

/// Chunks looked at before a file is given up.
const MAX_CHUNKS: usize = 4096;
const HEADER_BYTES: u64 = 8;
/// What the sound chunk has before its samples: an offset and a block size.
const SOUND_HEADER_BYTES: u64 = 8;
/// Bytes and frames of a block of QuickTime's IMA ADPCM, for each channel.
pub(super) const IMA4: Block = Block {
    bytes: 34,
    frames: 64,
};

/// Opens an AIFF file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let (mut common, mut sound, mut layout) = (None, None, Vec::new());
    let mut at = 12;
    for _ in 0..MAX_CHUNKS {
        let Some(head) = source.array::<8>(at)? else {
            break;
        };
        let size = u64::from(be32(&head, 4));
        let start = at + HEADER_BYTES;
        match &head[..4] {
            b"COMM" => common = Some(source.upto(start, size.min(64))?),
            b"CHAN" => layout = source.upto(start, size.min(MAX_LAYOUT_BYTES))?,
            b"SSND" if sound.is_none() => {
                let offset = source.array(start)?.map_or(0, u32::from_be_bytes);
                sound = Some((start + SOUND_HEADER_BYTES + u64::from(offset), start, size));
            }
            _ => {}
        }
        if common.is_some() && sound.is_some() {
            break;
        }
        at = start + size + size % 2;
    }
    let Some(common) = common.as_deref().and_then(Common::read) else {
        return Ok(Err("its COMM chunk is missing or too short".to_owned()));
    };
    let Some((first, start, size)) = sound else {
        return Ok(Err("it has no SSND chunk".to_owned()));
    };
    let (mut track, block) = common.track();
    blocks::place(&mut track.params, &layout);
    let is_open = size <= SOUND_HEADER_BYTES || size >= u64::from(u32::MAX) - 1;
    // A stream may say 0 frames too, or be cut off: then all that is there counts.
    let by_count = (common.frames > 0).then(|| u64::from(common.frames) * block.bytes);
    let promised = match is_open {
        true => by_count.filter(|bytes| first + bytes <= source.len()),
        false => Some((start + size).saturating_sub(first)),
    };
    let extent = Extent {
        start: first,
        promised,
    };
    Ok(Ok(Box::new(Blocks::new(
        source, "aiff", track, block, extent,
    ))))
}

struct Common {
    channels: u32,
    frames: u32,
    bits: u32,
    rate: u32,
    compression: [u8; 4],
}

impl Common {
    fn read(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; 18] = bytes.first_chunk()?;
        let rate = extended(fixed[8..].try_into().ok()?);
        let compression = bytes.get(18..22).and_then(|tag| tag.try_into().ok());
        Some(Self {
            channels: u32::from(u16::from_be_bytes([fixed[0], fixed[1]])),
            frames: be32(fixed, 2),
            bits: u32::from(u16::from_be_bytes([fixed[6], fixed[7]])),
            rate: rate.round() as u32,
            compression: compression.unwrap_or(*b"NONE"),
        })
    }

    fn track(&self) -> (Track, Block) {
        let channels = u64::from(self.channels);
        let bytes = match &lower(self.compression) {
            b"fl32" | b"in32" | b"23ni" => 4,
            b"fl64" => 8,
            b"in24" | b"42ni" => 3,
            _ => self.bits.div_ceil(8).max(1),
        };
        let plain = |bytes: u32| Block {
            bytes: u64::from(bytes) * channels,
            frames: 1,
        };
        let mut track = Track::default();
        let block = match names::fourcc(self.compression) {
            Some(Coded::Pcm) => {
                let (kind, is_big_endian) = order(self.compression);
                let pcm = Pcm {
                    bytes,
                    kind,
                    is_big_endian,
                };
                match pcm.codec() {
                    Some((codec, bits)) => {
                        track.params = blocks::pcm_params(codec, bits, self.rate, self.channels);
                    }
                    None => track.codec = Some(format!("PCM of {} bits", self.bits)),
                }
                plain(bytes)
            }
            Some(Coded::As(codec)) => {
                track.params = blocks::params(codec, self.rate, self.channels);
                match &self.compression {
                    b"ima4" => Block {
                        bytes: IMA4.bytes * channels,
                        ..IMA4
                    },
                    b"alaw" | b"ALAW" | b"ulaw" | b"ULAW" => plain(1),
                    tag => {
                        track.obstacle = Some(format!("{} in AIFF", names::unknown(tag)));
                        plain(1)
                    }
                }
            }
            Some(Coded::Undecoded(name)) => {
                track.codec = Some(name.to_owned());
                plain(1)
            }
            None => {
                track.codec = Some(names::unknown(&self.compression));
                plain(1)
            }
        };
        track.params.sample_rate = Some(self.rate);
        track.params.channels = Some(blocks::unplaced(self.channels));
        (track, block)
    }
}

fn lower(mut tag: [u8; 4]) -> [u8; 4] {
    tag.make_ascii_lowercase();
    tag
}

/// What the samples of an AIFF compression type are, and whether they are big-endian.
fn order(compression: [u8; 4]) -> (PcmKind, bool) {
    match &lower(compression) {
        b"fl32" | b"fl64" => (PcmKind::Float, true),
        b"sowt" | b"23ni" | b"42ni" => (PcmKind::Signed, false),
        b"raw " => (PcmKind::Unsigned, true),
        _ => (PcmKind::Signed, true),
    }
}

/// A number of 80 bits: sign and exponent in two bytes, then a mantissa with its first bit.
fn extended(bytes: [u8; 10]) -> f64 {
    let exponent = i32::from(u16::from_be_bytes([bytes[0], bytes[1]]) & 0x7fff) - 16_383;
    let mantissa = bytes[2..]
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    mantissa as f64 * f64::from(exponent - 63).exp2()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_80_bits() {
        let mut bytes = [0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0];
        assert!((extended(bytes) - 44_100.0).abs() < 1e-9);
        bytes[..4].copy_from_slice(&[0x40, 0x0c, 0xfa, 0]);
        assert!((extended(bytes) - 16_000.0).abs() < 1e-9);
    }
}
