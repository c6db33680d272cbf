//! Samples and blocks of equal size, one after another: what wav, aiff and caf hold.

use std::collections::VecDeque;
use std::io::Result as IoResult;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::{Demuxer, Ending, Fault, Packet, Track};
use crate::audio::places;
use crate::audio::source::Source;

/// Most bytes of what is said of the channels.
pub(super) const MAX_LAYOUT_BYTES: u64 = 64 << 10;

/// Bytes that are searched for the first sound, at once and up to where in the file.
const SEARCH_BYTES: u64 = 64 << 10;
const SEARCHED_BYTES: u64 = 16 << 20;
/// Frames that are handed on at once.
const PACKET_FRAMES: u64 = 1152;

/// The one track of a file of equal blocks.
pub(super) struct Blocks {
    source: Source,
    container: &'static str,
    tracks: [Track; 1],
    /// Where the blocks begin, and where they end as far as the file goes.
    at: u64,
    end: u64,
    /// Begins and ends of more blocks behind these.
    more: VecDeque<(u64, u64)>,
    block: Block,
    /// Samples of 24 bits stand at the lower end of four bytes, not at the upper.
    is_low: bool,
    is_cut: bool,
    unheard: Option<&'static str>,
}

/// Bytes and frames of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) bytes: u64,
    pub(super) frames: u64,
}

/// Bytes of a file from `start`, `promised` of them; `None` is up to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) promised: Option<u64>,
}

impl Blocks {
    /// Its track gets its duration from the extent.
    pub(super) fn new(
        source: Source,
        container: &'static str,
        mut track: Track,
        block: Block,
        extent: Extent,
    ) -> Self {
        let left = source.len().saturating_sub(extent.start);
        let promised = extent.promised.unwrap_or(left);
        let rate = f64::from(track.params.sample_rate.unwrap_or(0).max(1));
        let blocks = promised / block.bytes.max(1);
        track.duration_s = Some(blocks as f64 * block.frames as f64 / rate);
        let per_packet = (PACKET_FRAMES / block.frames.max(1)).max(1);
        track.params.frames_per_block = Some(block.frames);
        track.params.max_frames_per_packet = Some(per_packet * block.frames);
        Self {
            end: extent.start + promised.min(left),
            at: extent.start,
            is_cut: promised > left,
            source,
            container,
            tracks: [track],
            more: VecDeque::new(),
            block,
            is_low: false,
            unheard: None,
        }
    }

    /// Moves little-endian samples of 24 bits from the lower end of four bytes to the upper, if they
    /// stand there.
    pub(super) fn raised(mut self) -> IoResult<Self> {
        self.is_low = is_low(&mut self.source, self.at, self.end)?;
        Ok(self)
    }

    /// Goes on with the blocks of other extents.
    pub(super) fn followed_by(mut self, extents: &[Extent]) -> Self {
        let rate = f64::from(self.tracks[0].params.sample_rate.unwrap_or(0).max(1));
        for extent in extents {
            let left = self.source.len().saturating_sub(extent.start);
            let promised = extent.promised.unwrap_or(left);
            let blocks = promised / self.block.bytes.max(1);
            let seconds = blocks as f64 * self.block.frames as f64 / rate;
            let duration_s = &mut self.tracks[0].duration_s;
            *duration_s = duration_s.map(|before| before + seconds);
            self.is_cut |= promised > left;
            let end = extent.start + promised.min(left);
            self.more.push_back((extent.start, end));
        }
        self
    }

    /// Says what is left of the file unheard.
    pub(super) fn leaving(mut self, unheard: Option<&'static str>) -> Self {
        self.unheard = unheard;
        self
    }
}

impl Demuxer for Blocks {
    fn container(&self) -> &'static str {
        self.container
    }

    fn unheard(&self) -> Option<&'static str> {
        self.unheard
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, _: usize) {}

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        let Block { bytes, frames } = self.block;
        if bytes == 0 || frames == 0 {
            return Ok(None);
        }
        let mut left = self.end.saturating_sub(self.at) / bytes;
        while left == 0 {
            let Some(next) = self.more.pop_front() else {
                return Ok(None);
            };
            (self.at, self.end) = next;
            left = self.end.saturating_sub(self.at) / bytes;
        }
        let n = left.min((PACKET_FRAMES / frames).max(1));
        let mut data = self.source.upto(self.at, n * bytes)?;
        self.at += n * bytes;
        for sample in data.chunks_exact_mut(4).filter(|_| self.is_low) {
            sample.rotate_right(1);
            sample[0] = 0;
        }
        Ok(Some(Packet {
            data,
            frames: n * frames,
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

/// Whether samples of 24 bits stand at the lower end of four bytes: there the highest byte repeats the
/// sign, and the lowest is not always 0. The first that are not all 0 decide.
fn is_low(source: &mut Source, mut at: u64, end: u64) -> IoResult<bool> {
    while at < end.min(SEARCHED_BYTES) {
        let block = source.upto(at, SEARCH_BYTES.min(end - at))?;
        let words = block
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut heard = words.filter(|word| *word != 0).peekable();
        if heard.peek().is_some() {
            let (all, any) = heard.fold((true, false), |(all, any), word| {
                (all & (word << 8 >> 8 == word), any | (word & 0xff != 0))
            });
            return Ok(all && any);
        }
        at += SEARCH_BYTES;
    }
    Ok(false)
}

/// How the samples of plain PCM are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pcm {
    /// Bytes of a sample in the file.
    pub(super) bytes: u32,
    pub(super) kind: PcmKind,
    pub(super) is_big_endian: bool,
}

/// The numbers of plain PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PcmKind {
    Signed,
    Unsigned,
    Float,
}

impl Pcm {
    /// The codec that reads such samples, and the bits of one; `None` where there is none.
    pub(super) fn codec(self) -> Option<(AudioCodecId, u32)> {
        use PcmKind::{Float, Signed, Unsigned};
        let Self { bytes, kind, .. } = self;
        let (little, big) = match (kind, bytes) {
            (Signed, 1) => (codecs::CODEC_ID_PCM_S8, codecs::CODEC_ID_PCM_S8),
            (Signed, 2) => (codecs::CODEC_ID_PCM_S16LE, codecs::CODEC_ID_PCM_S16BE),
            (Signed, 3) => (codecs::CODEC_ID_PCM_S24LE, codecs::CODEC_ID_PCM_S24BE),
            (Signed, 4) => (codecs::CODEC_ID_PCM_S32LE, codecs::CODEC_ID_PCM_S32BE),
            (Unsigned, 1) => (codecs::CODEC_ID_PCM_U8, codecs::CODEC_ID_PCM_U8),
            (Unsigned, 2) => (codecs::CODEC_ID_PCM_U16LE, codecs::CODEC_ID_PCM_U16BE),
            (Unsigned, 3) => (codecs::CODEC_ID_PCM_U24LE, codecs::CODEC_ID_PCM_U24BE),
            (Unsigned, 4) => (codecs::CODEC_ID_PCM_U32LE, codecs::CODEC_ID_PCM_U32BE),
            (Float, 4) => (codecs::CODEC_ID_PCM_F32LE, codecs::CODEC_ID_PCM_F32BE),
            (Float, 8) => (codecs::CODEC_ID_PCM_F64LE, codecs::CODEC_ID_PCM_F64BE),
            _ => return None,
        };
        Some((if self.is_big_endian { big } else { little }, 8 * bytes))
    }
}

/// Parameters for a codec at a rate and channels without places.
pub(super) fn params(codec: AudioCodecId, rate: u32, channels: u32) -> AudioCodecParameters {
    let mut params = AudioCodecParameters::new();
    params
        .for_codec(codec)
        .with_sample_rate(rate)
        .with_channels(unplaced(channels));
    params
}

/// As [`params`], with the bits of a sample.
pub(super) fn pcm_params(
    codec: AudioCodecId,
    bits: u32,
    rate: u32,
    channels: u32,
) -> AudioCodecParameters {
    let mut params = params(codec, rate, channels);
    params
        .with_bits_per_sample(bits)
        .with_bits_per_coded_sample(bits);
    params
}

/// `count` channels of which nothing is said; the fold to mono assumes what ffmpeg assumes.
pub(super) fn unplaced(count: u32) -> Channels {
    Channels::Discrete(u16::try_from(count).unwrap_or(u16::MAX))
}

/// Gives the channels the places that Core Audio's layout names; the streams of other codecs than
/// PCM, its logarithmic kinds and FLAC say themselves where theirs stand.
pub(super) fn place(params: &mut AudioCodecParameters, layout: &[u8]) {
    let count = params.channels.as_ref().map_or(0, Channels::count);
    let is_plain = params.bits_per_coded_sample.is_some();
    let others = [
        codecs::CODEC_ID_PCM_ALAW,
        codecs::CODEC_ID_PCM_MULAW,
        codecs::CODEC_ID_FLAC,
    ];
    if let Some(places) = places::core_audio(layout, count)
        && (is_plain || others.contains(&params.codec))
    {
        params.with_channels(places);
    }
}

/// Bytes and frames of a block of ADPCM with a header of `header` bytes a channel that holds
/// `first` samples, then 4 bits a sample.
pub(super) fn adpcm_block(bytes: u64, channels: u64, header: u64, first: u64) -> Option<Block> {
    let rest = bytes.checked_sub(header * channels)?;
    let frames = rest * 2 / channels.max(1) + first;
    Some(Block { bytes, frames })
}
