//! Packets of one codec to interleaved frames.

use std::borrow::Cow;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::codec::{Depth, depth};
use super::demux::Packet;
use super::demux::mpeg::Header;
use super::opus::{OPUS_RATE, OpusHead, OpusPackets};
use super::vorbis;

/// Sample rates that are taken seriously.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
pub(super) const MAX_CHANNELS: usize = 32;
/// Frames that one packet may hold; more is a hostile header.
const MAX_PACKET_FRAMES: u64 = 1 << 18;

/// Decoded frames, interleaved.
pub(super) struct Frames {
    pub(super) rate: u32,
    pub(super) channels: Channels,
    /// What the codec decodes to.
    pub(super) depth: Depth,
    pub(super) samples: Vec<f32>,
}

impl Frames {
    pub(super) fn count(&self) -> u64 {
        (self.samples.len() / self.channels.count().max(1)) as u64
    }

    /// Drops frames from both ends.
    pub(super) fn trim(&mut self, start: u64, end: u64) {
        let channels = self.channels.count().max(1);
        let samples = |frames: u64| {
            usize::try_from(frames)
                .unwrap_or(usize::MAX)
                .saturating_mul(channels)
        };
        let kept = self.samples.len().saturating_sub(samples(end));
        self.samples.truncate(kept);
        self.samples.drain(..samples(start).min(kept));
    }
}

/// A decoder of one stream.
pub(super) enum Decoder {
    Library {
        decoder: Box<dyn AudioDecoder>,
        /// It drops priming and padding itself, since it knows of overlaps (Vorbis).
        trims: bool,
        /// Where the channels stand, where the container says it and the stream can't (FLAC).
        places: Option<Channels>,
    },
    Opus(Box<OpusPackets>),
}

impl Decoder {
    /// A decoder for these parameters; an error says why there is none.
    pub(super) fn new(params: &AudioCodecParameters) -> Result<Self, String> {
        check(params)?;
        if params.codec == codecs::CODEC_ID_OPUS {
            let head = match &params.extra_data {
                Some(bytes) => OpusHead::read(bytes)?,
                None => {
                    let channels = params.channels.as_ref().map_or(1, Channels::count);
                    OpusHead::plain(u8::try_from(channels).unwrap_or(2))
                }
            };
            let packets = OpusPackets::new(&head)?;
            return Ok(Self::Opus(Box::new(packets)));
        }
        let registry = symphonia::default::get_codecs();
        if registry.get_audio_decoder(params.codec).is_none() {
            return Err("no decoder for it".to_owned());
        }
        let trims = params.codec == codecs::CODEC_ID_VORBIS;
        let mut params = Cow::Borrowed(params);
        if trims && let Some(headers) = &mut params.to_mut().extra_data {
            vorbis::fit(headers)?;
        }
        let params = params.as_ref();
        registry
            .make_audio_decoder(params, &AudioDecoderOptions::default().gapless(trims))
            .map(|decoder| Self::Library {
                decoder,
                trims,
                places: places(params),
            })
            .map_err(|error| error.to_string())
    }

    /// What it decodes to.
    pub(super) fn depth(&self, params: &AudioCodecParameters) -> Depth {
        match self {
            Self::Library { decoder, .. } => depth(params, Some(decoder.as_ref())),
            Self::Opus(_) => depth(params, None),
        }
    }

    pub(super) fn trims_itself(&self) -> bool {
        matches!(self, Self::Library { trims: true, .. })
    }

    /// Puts the frames of a packet into `frames`, whose samples are empty.
    pub(super) fn decode(&mut self, packet: &Packet, frames: &mut Frames) -> Result<(), String> {
        match self {
            Self::Library {
                decoder,
                trims,
                places,
            } => {
                let lasts = Duration::from(packet.frames);
                let mut bytes = PacketRef::new(0, Timestamp::ZERO, lasts, &packet.data);
                if *trims {
                    bytes.trim_start = Duration::from(packet.trim_start);
                    bytes.trim_end = Duration::from(packet.trim_end);
                }
                let buffer = decoder.decode_ref(&bytes).map_err(|e| e.to_string())?;
                let spec = buffer.spec();
                frames.rate = spec.rate();
                let count = spec.channels().count();
                let places = places.as_ref().filter(|places| places.count() == count);
                let channels = places.unwrap_or(spec.channels());
                if frames.channels != *channels {
                    frames.channels.clone_from(channels);
                }
                buffer.copy_to_vec_interleaved(&mut frames.samples);
            }
            Self::Opus(decoder) => {
                frames.rate = OPUS_RATE;
                frames.channels = decoder.layout();
                frames
                    .samples
                    .extend_from_slice(decoder.decode(&packet.data)?);
            }
        }
        Ok(())
    }
}

fn places(params: &AudioCodecParameters) -> Option<Channels> {
    let are_named = |channels: &&Channels| !matches!(channels, Channels::Discrete(_));
    let channels = params.channels.as_ref().filter(are_named);
    channels
        .filter(|_| params.codec == codecs::CODEC_ID_FLAC)
        .cloned()
}

/// The parameters that a packet asks for, where they are not those that its decoder was made with:
/// frames of MPEG audio say them.
pub(super) fn changed(params: &AudioCodecParameters, data: &[u8]) -> Option<AudioCodecParameters> {
    let is_mpeg = matches!(
        params.codec,
        codecs::CODEC_ID_MP1 | codecs::CODEC_ID_MP2 | codecs::CODEC_ID_MP3
    );
    let header = data.first_chunk().map(|word| u32::from_be_bytes(*word));
    let found = Header::read(header.filter(|_| is_mpeg)?)?.params();
    let of = |p: &AudioCodecParameters| (p.codec, p.sample_rate, p.channels.clone());
    (of(&found) != of(params)).then_some(found)
}

/// Refuses headers that would make a decoder allocate or compute absurd amounts. A container may leave
/// out the rate and the channels of what says them itself.
fn check(params: &AudioCodecParameters) -> Result<(), String> {
    let says_itself = matches!(
        params.codec,
        codecs::CODEC_ID_MP1
            | codecs::CODEC_ID_MP2
            | codecs::CODEC_ID_MP3
            | codecs::CODEC_ID_ALAC
            | codecs::CODEC_ID_FLAC
            | codecs::CODEC_ID_VORBIS
            | codecs::CODEC_ID_OPUS
    );
    let rate = params.sample_rate.filter(|rate| *rate > 0 || !says_itself);
    if let Some(rate) = rate.filter(|rate| !RATES.contains(rate)) {
        return Err(format!("a sample rate of {rate} Hz makes no sense"));
    }
    let channels = params.channels.as_ref().map(Channels::count);
    let is_odd = |n: &usize| *n == 0 && !says_itself || *n > MAX_CHANNELS;
    if let Some(channels) = channels.filter(is_odd) {
        return Err(format!("{channels} channels make no sense"));
    }
    let alac_frames = (params.codec == codecs::CODEC_ID_ALAC)
        .then(|| params.extra_data.as_ref()?.first_chunk::<4>().copied())
        .flatten()
        .map(|bytes| u64::from(u32::from_be_bytes(bytes)));
    let packet_frames = params.max_frames_per_packet.max(alac_frames);
    if let Some(frames) = packet_frames.filter(|&frames| frames > MAX_PACKET_FRAMES) {
        return Err(format!("packets of {frames} frames make no sense"));
    }
    Ok(())
}
