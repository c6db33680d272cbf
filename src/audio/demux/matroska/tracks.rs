//! What Matroska says of its tracks: codec, language, and how their packets were packed.

use std::io::Read;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;

use super::super::blocks::{self, Block, Pcm, PcmKind};
use super::super::{Track, flac, wave};
use super::ebml::{children, find, float, text, unsigned};
use crate::audio::aac;
use crate::audio::names::{self, Coded};
use crate::audio::opus::OpusHead;
use crate::audio::vorbis::vorbis_headers;

const TRACK_ENTRY: u32 = 0xae;
const AUDIO_TYPE: u64 = 2;
/// Most bytes that a compressed packet may unfold to.
const MAX_UNPACKED_BYTES: u64 = 16 << 20;

/// What reading the packets of a track needs.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) number: u64,
    /// How packets were packed, the last way first.
    pub(super) packings: Vec<Packing>,
    pub(super) block: Option<Block>,
}

/// A way in which packets are made smaller.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packing {
    /// The same first bytes of all were left out.
    Stripped(Vec<u8>),
    Zlib,
    /// No way that is known; its name.
    Unknown(&'static str),
}

/// The audio tracks in the body of `Tracks`.
pub(super) fn read(body: &[u8]) -> Vec<(Track, Media)> {
    let entries = children(body).filter(|(id, _)| *id == TRACK_ENTRY);
    entries
        .filter(|(_, entry)| find(entry, 0x83).map(unsigned) == Some(AUDIO_TYPE))
        .map(|(_, entry)| track(entry))
        .collect()
}

fn track(entry: &[u8]) -> (Track, Media) {
    let number = |id| find(entry, id).map(unsigned);
    let packings = packings(entry);
    let mut private = find(entry, 0x63a2).unwrap_or_default().to_vec();
    for (packing, scope) in &packings {
        if scope & 2 != 0 {
            private = packing.unpack(private).unwrap_or_default();
        }
    }
    let audio = find(entry, 0xe1).unwrap_or_default();
    let rate = find(audio, 0xb5).map_or(8000.0, float).round() as u32;
    let channels = find(audio, 0x9f).map_or(1, unsigned);
    let channels = u32::try_from(channels).unwrap_or(u32::MAX);
    let bits = find(audio, 0x6264).map(unsigned).unwrap_or(0) as u32;
    let id = find(entry, 0x86).map(text).unwrap_or_default();
    let mut media = Media {
        number: number(0xd7).unwrap_or(0),
        packings: packings
            .into_iter()
            .filter(|(_, scope)| scope & 1 != 0)
            .map(|(packing, _)| packing)
            .collect(),
        block: None,
    };
    let mut track = Track {
        params: blocks::params(codecs::CODEC_ID_AAC, rate, channels),
        is_default: number(0x88) != Some(0),
        language: find(entry, 0x22b59d)
            .or_else(|| find(entry, 0x22b59c))
            .map_or(Some("eng".to_owned()), |tag| Some(text(tag)))
            .filter(|tag| tag != "und"),
        ..Track::default()
    };
    configure(&mut track, &mut media, &id, bits, &private);
    let unknown = media.packings.iter().find_map(|packing| match packing {
        Packing::Unknown(name) => Some(format!("its packets are {name}")),
        _ => None,
    });
    track.obstacle = track.obstacle.or(unknown);
    (track, media)
}

/// Puts the codec and its configuration into the track.
fn configure(track: &mut Track, media: &mut Media, id: &str, bits: u32, private: &[u8]) {
    if id == "A_MS/ACM" {
        if let Some(config) = wave::aac_config(private) {
            track.params.for_codec(codecs::CODEC_ID_AAC);
            track.codec = aac::apply(config, &mut track.params).err();
        } else if let Some(format) = wave::Format::read(private) {
            let (found, block) = format.track();
            track.params = found.params;
            (track.codec, track.obstacle) = (found.codec, found.obstacle);
            track.params.frames_per_block = Some(block.frames);
            track.params.max_frames_per_packet = Some(block.frames.max(1152));
            media.block = Some(block);
        } else {
            track.codec = Some("its codec".to_owned());
        }
        return;
    }
    match names::matroska(id) {
        Some(Coded::Pcm) => {
            let bits = match (id, bits) {
                ("A_PCM/FLOAT/IEEE", 0) => 32,
                (_, 0) => 16,
                _ => bits,
            };
            let pcm = Pcm {
                bytes: bits.div_ceil(8),
                kind: match (id, bits) {
                    ("A_PCM/FLOAT/IEEE", _) => PcmKind::Float,
                    (_, ..=8) => PcmKind::Unsigned,
                    _ => PcmKind::Signed,
                },
                is_big_endian: id == "A_PCM/INT/BIG",
            };
            match pcm.codec() {
                Some((codec, bits)) => {
                    let params = &mut track.params;
                    params.for_codec(codec).with_bits_per_sample(bits);
                    params.with_bits_per_coded_sample(bits);
                }
                None => track.codec = Some(format!("PCM of {bits} bits")),
            }
        }
        Some(Coded::As(codec)) => {
            track.params.for_codec(codec);
            track.codec = private_data(&mut track.params, private).err();
            if codec == codecs::CODEC_ID_OPUS {
                track.params.with_sample_rate(48_000);
                let head = OpusHead::read(private);
                track.skip_frames = head.map_or(0, |head| u64::from(head.pre_skip));
            }
        }
        Some(Coded::Undecoded(name)) => track.codec = Some(name.to_owned()),
        None => track.codec = Some(names::unknown(id.as_bytes())),
    }
}

/// Puts the codec's own data into `params`, in the form its decoder wants.
fn private_data(params: &mut AudioCodecParameters, private: &[u8]) -> Result<(), String> {
    match params.codec {
        codecs::CODEC_ID_AAC => return aac::apply(private, params),
        codecs::CODEC_ID_VORBIS => {
            if let Some(headers) = vorbis_headers(private) {
                params.with_extra_data(headers.into());
            }
        }
        codecs::CODEC_ID_FLAC => flac::describe(private, params),
        _ if !private.is_empty() => {
            params.with_extra_data(private.into());
        }
        _ => {}
    }
    Ok(())
}

/// The ways of packing and what each is for: 1 packets, 2 the codec's own data.
fn packings(entry: &[u8]) -> Vec<(Packing, u64)> {
    let encodings = find(entry, 0x6d80).unwrap_or_default();
    let mut found: Vec<(u64, Packing, u64)> = children(encodings)
        .filter(|(id, _)| *id == 0x6240)
        .map(|(_, encoding)| {
            let field = |id, default| find(encoding, id).map_or(default, unsigned);
            let packing = match field(0x5033, 0) {
                0 => compression(find(encoding, 0x5034).unwrap_or_default()),
                _ => Packing::Unknown("encrypted"),
            };
            (field(0x5031, 0), packing, field(0x5032, 1))
        })
        .collect();
    found.sort_by_key(|(order, ..)| std::cmp::Reverse(*order));
    let both = |(_, packing, scope)| (packing, scope);
    found.into_iter().map(both).collect()
}

fn compression(body: &[u8]) -> Packing {
    match find(body, 0x4254).map_or(0, unsigned) {
        0 => Packing::Zlib,
        1 => Packing::Unknown("compressed by bzip2"),
        2 => Packing::Unknown("compressed by LZO"),
        3 => Packing::Stripped(find(body, 0x4255).unwrap_or_default().to_vec()),
        _ => Packing::Unknown("compressed in an unknown way"),
    }
}

impl Packing {
    /// The packet as it was before.
    pub(super) fn unpack(&self, packet: Vec<u8>) -> Result<Vec<u8>, String> {
        match self {
            Self::Stripped(first) => Ok([first.as_slice(), &packet].concat()),
            Self::Zlib => {
                let mut whole = Vec::new();
                flate2::read::ZlibDecoder::new(packet.as_slice())
                    .take(MAX_UNPACKED_BYTES)
                    .read_to_end(&mut whole)
                    .map_err(|error| format!("a packed packet cannot be unpacked: {error}"))?;
                Ok(whole)
            }
            Self::Unknown(name) => Err(format!("its packets are {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn packets_are_unpacked() {
        let stripped = Packing::Stripped(vec![1, 2]);
        assert_eq!(stripped.unpack(vec![3]), Ok(vec![1, 2, 3]));
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(&[7; 100]).unwrap();
        let packed = writer.finish().unwrap();
        assert_eq!(Packing::Zlib.unpack(packed.clone()), Ok(vec![7; 100]));
        assert!(Packing::Zlib.unpack(packed[..4].to_vec()).is_err());
        assert!(compression(&[0x42, 0x54, 0x81, 2]).unpack(vec![]).is_err());
    }
}
