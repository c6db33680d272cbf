//! wav, RF64 and BW64: a `fmt ` chunk and a `data` chunk; nothing else in the file matters.
//!
//! Streamed files leave sizes 0 or at a limit, truncated ones promise too much, and RF64 keeps the
//! real sizes in `ds64`.

use std::io::Result as IoResult;

use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::well_known as codecs;

use super::blocks::{self, Block, Blocks, Extent, Pcm, PcmKind};
use super::bursts;
use super::mpeg::Mpeg;
use super::{Demuxer, Track};
use crate::audio::names::{self, Coded};
use crate::audio::source::Source;

/// Chunks looked at before a file is given up.
const MAX_CHUNKS: usize = 4096;
/// Bytes searched for `data` where the sizes of chunks before it are wrong.
const SEARCH_BYTES: u64 = 1 << 20;
const HEADER_BYTES: u64 = 8;
/// Bytes of a format that are looked at.
const FORMAT_BYTES: u64 = 64;
/// The tag of AAC without frames around it.
const AAC: u16 = 0xff;
/// The rest of the identifier that an extensible format has behind its tag.
const GUID: [u8; 14] = *b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";
const AMBISONIC: [u8; 14] = *b"\0\0\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\0\0\0";

/// Sizes from which on a program that could not seek back meant "all that comes".
fn is_open(size: u64) -> bool {
    size == 0 || size >= u64::from(u32::MAX) - 1 || (0x7fff_0000..=0x8000_0000).contains(&size)
}

/// Opens a wav file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let chunks = Chunks::find(&mut source)?;
    let Some(format) = chunks.format.as_deref().and_then(Format::read) else {
        return Ok(Err("its format chunk is missing or too short".to_owned()));
    };
    let Some((start, size)) = chunks.data else {
        return Ok(Err("it has no data chunk".to_owned()));
    };
    let left = source.len().saturating_sub(start);
    let size = chunks.wide_size.filter(|_| size == u64::from(u32::MAX));
    let size = size.unwrap_or(chunks.data.map_or(0, |(_, size)| size));
    let is_open = is_open(size) && (size == 0 || size > left);
    let extent = Extent {
        start,
        promised: (!is_open).then_some(size),
    };
    let more = match extent.promised {
        Some(size) => {
            let same = chunks.format.unwrap_or_default();
            More::find(&mut source, start + size + size % 2, &same)?
        }
        None => More::default(),
    };
    Ok(Ok(format.blocks(source, extent, &more)?))
}

/// The samples that stand in chunks of their own behind the first ones, those of joined files of
/// the same format too.
#[derive(Default)]
struct More {
    extents: Vec<Extent>,
    /// A joined file has another format: it and what follows are left.
    is_of_other_format: bool,
}

impl More {
    fn find(source: &mut Source, mut at: u64, format: &[u8]) -> IoResult<Self> {
        let mut found = Self::default();
        for _ in 0..MAX_CHUNKS {
            let Some([a, b, c, d, size @ ..]) = source.array::<8>(at)? else {
                break;
            };
            let (start, size) = (at + HEADER_BYTES, u64::from(u32::from_le_bytes(size)));
            match &[a, b, c, d] {
                b"RIFF" => {
                    at = start + 4;
                    continue;
                }
                b"fmt " if source.upto(start, size.min(FORMAT_BYTES))? != format => {
                    found.is_of_other_format = true;
                    break;
                }
                _ => {}
            }
            if [a, b, c, d] == *b"data" && size > 0 {
                found.extents.push(Extent {
                    start,
                    promised: (!is_open(size)).then_some(size),
                });
            }
            at = start + size + size % 2;
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Chunks {
    format: Option<Vec<u8>>,
    /// Where the samples start, and the size that the chunk claims.
    data: Option<(u64, u64)>,
    wide_size: Option<u64>,
}

impl Chunks {
    fn find(source: &mut Source) -> IoResult<Self> {
        let mut found = Self::default();
        let mut at = 12;
        for _ in 0..MAX_CHUNKS {
            let Some(head) = source.array::<8>(at)? else {
                break;
            };
            let size = u64::from(u32_at(&head, 4).unwrap_or(0));
            let start = at + HEADER_BYTES;
            match &head[..4] {
                b"fmt " => found.format = Some(source.upto(start, size.min(FORMAT_BYTES))?),
                b"ds64" => found.wide_size = source.array(start + 8)?.map(u64::from_le_bytes),
                b"data" if found.data.is_none() => found.data = Some((start, size)),
                _ => {}
            }
            if found.data.is_some() && found.format.is_some() {
                break;
            }
            at = start + size + size % 2;
        }
        if found.data.is_none() {
            found.data = Self::search(source)?;
        }
        Ok(found)
    }

    /// The first `data` anywhere near the start: a chunk before it lied about its size.
    fn search(source: &mut Source) -> IoResult<Option<(u64, u64)>> {
        let head = source.upto(12, SEARCH_BYTES)?;
        let found = head.windows(8).position(|bytes| bytes.starts_with(b"data"));
        let size = found.and_then(|at| u32_at(&head, at + 4));
        Ok(found
            .zip(size)
            .map(|(at, size)| (12 + at as u64 + HEADER_BYTES, u64::from(size))))
    }
}

/// The fields of `WAVEFORMATEX`, its extension resolved. Matroska's `A_MS/ACM` holds the same.
pub(super) struct Format {
    tag: u16,
    rate: u32,
    align: u64,
    bits: u32,
    channels: Channels,
}

impl Format {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (mut tag, count) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        let mut channels = blocks::unplaced(u32::from(count));
        if tag == 0xfffe {
            let (sub, kind) = (u16_at(bytes, 24)?, bytes.get(26..40)?);
            if kind == GUID || kind == AMBISONIC {
                tag = sub;
            }
            if kind != AMBISONIC {
                channels = masked(u32_at(bytes, 20)?, count).unwrap_or(channels);
            }
        }
        Some(Self {
            tag,
            rate: u32_at(bytes, 4)?,
            align: u64::from(u16_at(bytes, 12)?),
            bits: u32::from(u16_at(bytes, 14)?),
            channels,
        })
    }

    fn count(&self) -> u64 {
        self.channels.count() as u64
    }

    /// Bytes of a PCM sample: samples of odd widths stand in wider ones, at their upper end.
    fn sample_bytes(&self) -> u32 {
        let least = self.bits.div_ceil(8).max(1);
        let by_block = u32::try_from(self.align / self.count().max(1)).unwrap_or(0);
        let is_wider = self.bits == 24 && by_block == 4;
        match is_wider || self.bits == 0 || !self.bits.is_multiple_of(8) {
            true if (least..=4).contains(&by_block) => by_block,
            _ => least,
        }
    }

    /// The track, and the bytes and frames of a block of its codec.
    pub(super) fn track(&self) -> (Track, Block) {
        let (rate, count) = (self.rate, self.channels.count() as u32);
        let plain = Block {
            bytes: u64::from(self.sample_bytes()) * self.count(),
            frames: 1,
        };
        let adpcm = |header, first| blocks::adpcm_block(self.align, self.count(), header, first);
        let mut track = Track::default();
        let block = match names::wave(self.tag) {
            Some(Coded::Pcm) => {
                let bytes = self.sample_bytes();
                let kind = match (self.tag, bytes) {
                    (3, _) => PcmKind::Float,
                    (_, 1) => PcmKind::Unsigned,
                    _ => PcmKind::Signed,
                };
                let pcm = Pcm {
                    bytes,
                    kind,
                    is_big_endian: false,
                };
                match pcm.codec() {
                    Some((codec, bits)) => {
                        track.params = blocks::pcm_params(codec, bits, rate, count);
                    }
                    None => track.codec = Some(format!("PCM of {} bits", self.bits)),
                }
                Some(plain)
            }
            Some(Coded::As(codec)) => {
                track.params = blocks::params(codec, rate, count);
                match codec {
                    codecs::CODEC_ID_ADPCM_MS => adpcm(7, 2),
                    codecs::CODEC_ID_ADPCM_IMA_WAV => adpcm(4, 1),
                    _ => Some(Block {
                        bytes: self.count(),
                        frames: 1,
                    }),
                }
            }
            Some(Coded::Undecoded(name)) => {
                track.codec = Some(name.to_owned());
                None
            }
            None => {
                track.codec = Some(names::unknown(&self.tag.to_be_bytes()));
                None
            }
        };
        if block.is_none() && track.codec.is_none() {
            track.obstacle = Some("its blocks are too small".to_owned());
        }
        track.params.channels = Some(self.channels.clone());
        track.params.sample_rate = Some(rate);
        (track, block.unwrap_or(plain))
    }

    /// Its blocks in a file, in one chunk and more behind it.
    fn blocks(
        &self,
        mut source: Source,
        extent: Extent,
        more: &More,
    ) -> IoResult<Box<dyn Demuxer>> {
        if let Some(Coded::As(codecs::CODEC_ID_MP3 | codecs::CODEC_ID_MP2)) = names::wave(self.tag)
        {
            let end = extent.promised.map_or(u64::MAX, |n| extent.start + n);
            return Ok(Box::new(Mpeg::open(source, extent.start, end, "wave")?));
        }
        let (mut track, block) = self.track();
        if track.params.codec == codecs::CODEC_ID_PCM_S16LE && self.count() == 2 {
            let first = source.upto(extent.start, bursts::SEARCH_BYTES)?;
            track.codec = bursts::name(&first).map(str::to_owned);
        }
        let is_padded = self.bits == 24 && self.sample_bytes() == 4;
        let mut first = Blocks::new(source, "wave", track, block, extent);
        if is_padded && names::wave(self.tag) == Some(Coded::Pcm) {
            first = first.raised()?;
        }
        let left = "a wav file of another format is joined to its end and is not heard";
        let left = more.is_of_other_format.then_some(left);
        Ok(Box::new(first.followed_by(&more.extents).leaving(left)))
    }
}

/// The configuration of AAC behind a format that says it is that; Matroska has it so.
pub(super) fn aac_config(format: &[u8]) -> Option<&[u8]> {
    let size = usize::from(u16_at(format, 16)?);
    let config = format.get(18..18 + size)?;
    (u16_at(format, 0)? == AAC && size >= 2).then_some(config)
}

/// The places of a mask; with too few bits set, those above the highest are added, with too many
/// the highest are dropped.
fn masked(mut mask: u32, count: u16) -> Option<Channels> {
    let count = u32::from(count);
    if count > 18 || mask == 0 {
        return None;
    }
    mask &= (1 << 18) - 1;
    while mask.count_ones() > count {
        mask &= !(1 << (31 - mask.leading_zeros()));
    }
    let missing = count - mask.count_ones();
    mask |= ((1 << missing) - 1) << (32 - mask.leading_zeros());
    Position::from_wave_channel_mask(mask).map(Channels::Positioned)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(tag: u16, channels: u16, align: u16, bits: u16) -> Format {
        let mut bytes = Vec::new();
        for field in [tag, channels, 16_000, 0, 0, 0, align, bits] {
            bytes.extend(field.to_le_bytes());
        }
        Format::read(&bytes).unwrap()
    }

    #[test]
    fn samples_of_odd_widths_stand_in_whole_bytes() {
        let cases = [
            ((1, 1, 1, 8), codecs::CODEC_ID_PCM_U8, 1),
            ((1, 1, 2, 12), codecs::CODEC_ID_PCM_S16LE, 2),
            ((1, 2, 6, 20), codecs::CODEC_ID_PCM_S24LE, 6),
            ((1, 1, 4, 20), codecs::CODEC_ID_PCM_S32LE, 4),
            ((1, 1, 0, 16), codecs::CODEC_ID_PCM_S16LE, 2),
            ((1, 2, 8, 24), codecs::CODEC_ID_PCM_S32LE, 8),
            ((1, 1, 3, 24), codecs::CODEC_ID_PCM_S24LE, 3),
            ((3, 1, 8, 64), codecs::CODEC_ID_PCM_F64LE, 8),
        ];
        for ((tag, channels, align, bits), codec, bytes) in cases {
            let (track, block) = format(tag, channels, align, bits).track();
            assert_eq!((track.params.codec, block.bytes), (codec, bytes), "{bits}");
        }
        let (track, _) = format(3, 1, 2, 16).track();
        assert_eq!(track.codec.as_deref(), Some("PCM of 16 bits"));
    }

    #[test]
    fn the_configuration_of_aac() {
        let mut bytes = vec![0xff, 0];
        bytes.extend([0; 14]);
        bytes.extend([2, 0, 0x12, 0x10]);
        assert_eq!(aac_config(&bytes), Some(&[0x12, 0x10][..]));
        assert_eq!(aac_config(&bytes[..19]), None);
        bytes[0] = 1;
        assert_eq!(aac_config(&bytes), None);
    }

    #[test]
    fn masks_are_made_to_fit() {
        let of = |mask, count| masked(mask, count).map(|channels| channels.count());
        assert_eq!(of(0, 6), None);
        assert_eq!(of(1, 3), Some(3));
        assert_eq!(of(0xffff_ffff, 2), Some(2));
        assert_eq!(of(0x3f, 6), Some(6));
        assert_eq!(of(0x60f, 40), None);
    }
}
