//! The description of a track's samples (`stsd`): codec, configuration, and how PCM is written.

use symphonia::core::codecs::audio::well_known as codecs;

use super::super::aiff::IMA4;
use super::super::blocks::{self, Block, Pcm, PcmKind};
use super::super::{Track, caf, flac};
use super::atoms::{be32, be64, children, find};
use crate::audio::aac::Descriptor;
use crate::audio::names::{self, Coded};
use crate::audio::opus::OpusHead;

/// Most descriptions of one track.
const MAX_ENTRIES: usize = 64;
/// Bytes before the atoms of a description, by its version.
const FIXED_BYTES: [usize; 3] = [28, 44, 64];

/// One description.
pub(super) struct Entry {
    pub(super) track: Track,
    /// Bytes and frames of a block, where all are of one size.
    pub(super) block: Option<Block>,
    /// Frames that Opus says to skip.
    pub(super) pre_skip: u64,
}

/// Reads the body of `stsd`.
pub(super) fn read(stsd: &[u8]) -> Vec<Entry> {
    let entries = children(stsd.get(8..).unwrap_or_default());
    entries
        .take(MAX_ENTRIES)
        .map(|(format, body)| Fields::read(format, body).entry())
        .collect()
}

/// What a description says before and in its atoms.
struct Fields<'b> {
    format: [u8; 4],
    atoms: &'b [u8],
    /// What QuickTime wraps around the atoms of a codec.
    wave: &'b [u8],
    channels: u32,
    bits: u32,
    rate: u32,
    /// Whether the second version says: float, big-endian, signed.
    flags: Option<u32>,
    /// Bytes and frames of a block of all channels, where the first version says.
    block: Option<Block>,
    is_encrypted: bool,
}

impl<'b> Fields<'b> {
    fn read(format: [u8; 4], body: &'b [u8]) -> Self {
        let be16 = |at: usize| be32(body, at).map_or(0, |word| word >> 16);
        let version = be16(8);
        let fixed = FIXED_BYTES.get(version as usize).copied();
        let atoms = body.get(fixed.unwrap_or(FIXED_BYTES[0])..);
        let atoms = atoms.unwrap_or_default();
        let (mut channels, mut bits, mut rate) = (be16(16), be16(18), be16(24));
        let (mut flags, mut block) = (None, None);
        match version {
            1 => {
                // Bytes of a sample supersede the older field, which says 16 for all.
                let bytes = be32(body, 32).filter(|bytes| (1..=8).contains(bytes));
                bits = bytes.map_or(bits, |bytes| 8 * bytes);
                let known = be32(body, 36).zip(be32(body, 28));
                block = known.map(|(bytes, frames)| Block {
                    bytes: u64::from(bytes),
                    frames: u64::from(frames),
                });
            }
            2 => {
                let hertz = be64(body, 32).map_or(0.0, f64::from_bits);
                rate = hertz.round() as u32;
                channels = be32(body, 40).unwrap_or(0);
                bits = be32(body, 48).unwrap_or(0);
                flags = be32(body, 52);
            }
            _ => {}
        }
        let is_encrypted = matches!(&format, b"enca" | b"drms" | b"p608");
        let original = find(atoms, *b"sinf").and_then(|sinf| find(sinf, *b"frma"));
        let original = original.and_then(|tag| tag.first_chunk::<4>());
        Self {
            format: *original.filter(|_| is_encrypted).unwrap_or(&format),
            wave: find(atoms, *b"wave").unwrap_or_default(),
            atoms,
            channels,
            bits,
            rate,
            flags,
            block,
            is_encrypted,
        }
    }

    /// An atom of the codec, wherever it is.
    fn atom(&self, kind: [u8; 4]) -> Option<&'b [u8]> {
        find(self.atoms, kind).or_else(|| find(self.wave, kind))
    }

    fn entry(&self) -> Entry {
        let mut entry = Entry {
            track: Track {
                params: blocks::params(codecs::CODEC_ID_AAC, self.rate, self.channels),
                ..Track::default()
            },
            block: None,
            pre_skip: 0,
        };
        let channels = u64::from(self.channels);
        match names::fourcc(self.format) {
            Some(Coded::Pcm) => self.pcm(&mut entry),
            Some(Coded::As(codec)) => {
                entry.track.params.for_codec(codec);
                match codec {
                    codecs::CODEC_ID_PCM_ALAW | codecs::CODEC_ID_PCM_MULAW => {
                        entry.block = Some(Block {
                            bytes: channels,
                            frames: 1,
                        });
                    }
                    codecs::CODEC_ID_ADPCM_IMA_QT => {
                        entry.block = Some(Block {
                            bytes: IMA4.bytes * channels,
                            ..IMA4
                        });
                        entry.track.params.frames_per_block = Some(IMA4.frames);
                        entry.track.params.max_frames_per_packet = Some(1152);
                    }
                    codecs::CODEC_ID_ADPCM_MS | codecs::CODEC_ID_ADPCM_IMA_WAV => {
                        entry.block = self.block.filter(|block| block.frames > 0);
                        let frames = self.block.map_or(0, |block| block.frames);
                        entry.track.params.frames_per_block = Some(frames);
                        entry.track.params.max_frames_per_packet = Some(frames.max(1152));
                        if entry.block.is_none() {
                            let lack = "the size of its blocks is missing";
                            entry.track.obstacle = Some(lack.to_owned());
                        }
                    }
                    _ => self.configure(&mut entry),
                }
            }
            Some(Coded::Undecoded(name)) => entry.track.codec = Some(name.to_owned()),
            None => entry.track.codec = Some(names::unknown(&self.format)),
        }
        let layout = self.atom(*b"chan").and_then(|body| body.get(4..));
        blocks::place(&mut entry.track.params, layout.unwrap_or_default());
        if self.is_encrypted {
            entry.track.obstacle = Some("it is encrypted".to_owned());
        }
        entry.block = entry.block.filter(|block| block.bytes > 0);
        entry
    }

    fn pcm(&self, entry: &mut Entry) {
        let pcm = self.layout();
        match pcm.codec() {
            Some((codec, bits)) => {
                entry.track.params = blocks::pcm_params(codec, bits, self.rate, self.channels);
                entry.block = Some(Block {
                    bytes: u64::from(pcm.bytes) * u64::from(self.channels),
                    frames: 1,
                });
            }
            None => entry.track.codec = Some(format!("PCM of {} bits", self.bits)),
        }
    }

    /// How its samples are written. QuickTime's are big-endian where nothing says otherwise.
    fn layout(&self) -> Pcm {
        let is_little = self
            .atom(*b"enda")
            .is_some_and(|body| body.get(..2) == Some(&[0, 1]));
        let (bytes, kind, is_big_endian) = match &self.format {
            b"raw " | b"NONE" | b"none" | b"\0\0\0\0" if self.bits <= 8 => {
                (1, PcmKind::Unsigned, true)
            }
            b"sowt" | b"SOWT" => (self.bytes(), PcmKind::Signed, false),
            b"in24" | b"IN24" => (3, PcmKind::Signed, !is_little),
            b"in32" | b"IN32" => (4, PcmKind::Signed, !is_little),
            b"42ni" => (3, PcmKind::Signed, false),
            b"23ni" | b"23NI" => (4, PcmKind::Signed, false),
            b"fl32" | b"FL32" => (4, PcmKind::Float, !is_little),
            b"fl64" | b"FL64" => (8, PcmKind::Float, !is_little),
            b"lpcm" => match self.flags {
                Some(flags) => {
                    let kind = match (flags & 1, flags & 4) {
                        (1, _) => PcmKind::Float,
                        (_, 0) => PcmKind::Unsigned,
                        _ => PcmKind::Signed,
                    };
                    (self.bytes(), kind, flags & 2 != 0)
                }
                None => (self.bytes(), PcmKind::Signed, !is_little),
            },
            b"ipcm" | b"fpcm" => return self.configured(),
            _ => (self.bytes(), PcmKind::Signed, true),
        };
        Pcm {
            bytes,
            kind,
            is_big_endian,
        }
    }

    fn bytes(&self) -> u32 {
        self.bits.div_ceil(8)
    }

    /// PCM as MP4 has it: `pcmC` holds the order of bytes and the bits.
    fn configured(&self) -> Pcm {
        let config = self.atom(*b"pcmC").unwrap_or_default();
        let is_little = config.get(4).is_some_and(|flags| flags & 1 == 1);
        let bits = config.get(5).map_or(self.bits, |bits| u32::from(*bits));
        Pcm {
            bytes: bits.div_ceil(8),
            kind: match &self.format {
                b"fpcm" => PcmKind::Float,
                _ => PcmKind::Signed,
            },
            is_big_endian: !is_little,
        }
    }

    /// Puts the configuration that the atoms hold into the parameters.
    fn configure(&self, entry: &mut Entry) {
        let params = &mut entry.track.params;
        match params.codec {
            codecs::CODEC_ID_AAC => {
                let esds = self.atom(*b"esds").and_then(|body| body.get(4..));
                let found = esds.and_then(Descriptor::read);
                entry.track.codec = found.and_then(|found| found.apply(params).err());
            }
            codecs::CODEC_ID_ALAC => {
                let cookie = self.atom(*b"alac").and_then(|body| body.get(4..));
                let cookie = caf::alac_config(cookie.unwrap_or_default());
                if let Some(rate) = be32(cookie, 20).filter(|rate| *rate > 0) {
                    params.with_sample_rate(rate);
                }
                params.with_extra_data(cookie.into());
            }
            codecs::CODEC_ID_FLAC => {
                let body = self.atom(*b"dfLa").unwrap_or_default();
                flac::describe(body.get(4..).unwrap_or_default(), params);
            }
            codecs::CODEC_ID_OPUS => {
                let body = self.atom(*b"dOps").unwrap_or_default();
                let head = opus_head(body);
                if let Ok(read) = OpusHead::read(&head) {
                    entry.pre_skip = u64::from(read.pre_skip);
                    params.with_extra_data(head.into());
                }
                params.with_sample_rate(48_000);
            }
            _ => {}
        }
    }
}

/// The header that Ogg has, from what MP4 writes big-endian and without its name.
fn opus_head(body: &[u8]) -> Vec<u8> {
    let mut head = b"OpusHead".to_vec();
    head.extend(body);
    for field in [10..12, 12..16, 16..18] {
        if let Some(bytes) = head.get_mut(field) {
            bytes.reverse();
        }
    }
    if let Some(version) = head.get_mut(8) {
        *version = 1;
    }
    head
}

#[cfg(test)]
mod tests {
    use symphonia::core::audio::{Channels, Position};

    use super::*;

    fn described(format: &[u8; 4], bits: u16, atoms: &[u8]) -> Entry {
        let mut body = vec![0; 16];
        body.extend(1u16.to_be_bytes());
        body.extend(bits.to_be_bytes());
        body.extend([0; 4]);
        body.extend([0x3e, 0x80, 0, 0]);
        body.extend(atoms);
        Fields::read(*format, &body).entry()
    }

    #[test]
    fn orders_of_bytes() {
        let little = b"\0\0\0\x12wave\0\0\0\x0aenda\0\x01";
        let mp4 = |flags| [b"\0\0\0\x0epcmC\0\0\0\0".as_slice(), &[flags, 24]].concat();
        let cases: [(&[u8; 4], u16, &[u8], _); 15] = [
            (b"in24", 16, b"", codecs::CODEC_ID_PCM_S24BE),
            (b"in24", 24, little, codecs::CODEC_ID_PCM_S24LE),
            (b"in32", 16, b"", codecs::CODEC_ID_PCM_S32BE),
            (b"fl32", 16, b"", codecs::CODEC_ID_PCM_F32BE),
            (b"fl32", 32, little, codecs::CODEC_ID_PCM_F32LE),
            (b"fl64", 64, b"", codecs::CODEC_ID_PCM_F64BE),
            (b"twos", 16, b"", codecs::CODEC_ID_PCM_S16BE),
            (b"twos", 8, b"", codecs::CODEC_ID_PCM_S8),
            (b"sowt", 16, b"", codecs::CODEC_ID_PCM_S16LE),
            (b"raw ", 8, b"", codecs::CODEC_ID_PCM_U8),
            (b"NONE", 16, b"", codecs::CODEC_ID_PCM_S16BE),
            (b"ulaw", 16, b"", codecs::CODEC_ID_PCM_MULAW),
            (b"ima4", 16, b"", codecs::CODEC_ID_ADPCM_IMA_QT),
            (b"ipcm", 24, &mp4(0), codecs::CODEC_ID_PCM_S24BE),
            (b"ipcm", 24, &mp4(1), codecs::CODEC_ID_PCM_S24LE),
        ];
        for (format, bits, atoms, codec) in cases {
            let entry = described(format, bits, atoms);
            assert_eq!(entry.track.params.codec, codec, "{format:?} {bits}");
            assert!(entry.block.is_some());
        }
    }

    #[test]
    fn blocks_of_adpcm_have_the_size_that_the_first_version_says() {
        let mut body = vec![0; 28];
        body[9] = 1;
        (body[17], body[25]) = (2, 64);
        for field in [1017u32, 512, 1024, 2] {
            body.extend(field.to_be_bytes());
        }
        let entry = Fields::read(*b"ms\0\x11", &body).entry();
        let block = Block {
            bytes: 1024,
            frames: 1017,
        };
        assert_eq!((entry.block, entry.track.obstacle), (Some(block), None));
        let without = described(b"ms\0\x11", 16, b"");
        assert!(without.block.is_none() && without.track.obstacle.is_some());
    }

    #[test]
    fn flac_says_its_own_rate_and_places() {
        let mut info = [0; 34];
        info[10..13].copy_from_slice(&[0x03, 0xe8, 0x04]);
        let comment = b"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0xB";
        let blocks = [b"\0\0\0\x22", &info[..], b"\x84\0\0\x25", comment].concat();
        let atom = [b"\0\0\0\x5bdfLa\0\0\0\0", &blocks[..]].concat();
        let params = described(b"fLaC", 16, &atom).track.params;
        assert_eq!(params.sample_rate, Some(16_000));
        let mask = Position::from_wave_channel_mask(0xb).unwrap();
        assert_eq!(params.channels, Some(Channels::Positioned(mask)));
    }

    #[test]
    fn what_is_not_decoded_is_named() {
        let named = |format| described(format, 16, b"").track.codec;
        assert_eq!(named(b"ac-3").as_deref(), Some("AC-3"));
        assert_eq!(named(b"zzzz").as_deref(), Some("an unknown codec (zzzz)"));
        let encrypted = described(b"enca", 16, b"\0\0\0\x14sinf\0\0\0\x0cfrmamp4a");
        assert_eq!(encrypted.track.params.codec, codecs::CODEC_ID_AAC);
        assert_eq!(encrypted.track.obstacle.as_deref(), Some("it is encrypted"));
    }
}
