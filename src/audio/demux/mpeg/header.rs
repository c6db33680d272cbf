//! The four bytes that every frame begins with.

use std::io::Result as IoResult;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;

use super::super::blocks;
use crate::audio::source::Source;

const KBPS_1: [[u32; 14]; 3] = [
    [
        32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
    ],
    [
        32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ],
    [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
];
const KBPS_2: [[u32; 14]; 2] = [
    [
        32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
    ],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audio) struct Header {
    pub(super) word: u32,
    pub(super) layer: u32,
    pub(super) rate: u32,
    channels: u32,
    kbps: u32,
    is_version_1: bool,
    pub(super) has_crc: bool,
    /// Samples of each channel in a frame.
    pub(super) samples: u64,
    /// Bytes of the frame, header included.
    pub(in crate::audio) bytes: u64,
}

impl Header {
    /// Reads four bytes; `None` where they are no header, or one of a free bit rate.
    pub(in crate::audio) fn read(word: u32) -> Option<Self> {
        if word >> 21 != 0x7ff {
            return None;
        }
        let (version, layer) = (word >> 19 & 3, 4 - (word >> 17 & 3));
        let (bitrate, rate) = (word >> 12 & 15, word >> 10 & 3);
        if version == 1 || layer == 4 || bitrate == 15 || bitrate == 0 || rate == 3 {
            return None;
        }
        let is_version_1 = version == 3;
        let table = match is_version_1 {
            true => &KBPS_1[layer as usize - 1],
            false => &KBPS_2[usize::from(layer > 1)],
        };
        let bits = table[bitrate as usize - 1] * 1000;
        let halved = match version {
            3 => 1,
            2 => 2,
            _ => 4,
        };
        let rate = [44_100, 48_000, 32_000][rate as usize] / halved;
        let padding = word >> 9 & 1;
        let (samples, bytes) = match layer {
            1 => (384, (12 * bits / rate + padding) * 4),
            3 if !is_version_1 => (576, 72 * bits / rate + padding),
            _ => (1152, 144 * bits / rate + padding),
        };
        Some(Self {
            word,
            layer,
            rate,
            channels: if word >> 6 & 3 == 3 { 1 } else { 2 },
            kbps: bits / 1000,
            is_version_1,
            has_crc: word >> 16 & 1 == 0,
            samples,
            bytes: u64::from(bytes),
        })
    }

    /// The header at an offset.
    pub(in crate::audio) fn at(source: &mut Source, offset: u64) -> IoResult<Option<Self>> {
        let word = source.array(offset)?.map(u32::from_be_bytes);
        Ok(word.and_then(Self::read))
    }

    /// Whether both belong to one stream: same version, layer, rate and channels.
    pub(in crate::audio) fn agrees(&self, other: &Self) -> bool {
        self.word >> 17 == other.word >> 17
            && self.rate == other.rate
            && self.channels == other.channels
    }

    pub(in crate::audio) fn params(&self) -> AudioCodecParameters {
        let codec = match self.layer {
            1 => codecs::CODEC_ID_MP1,
            2 => codecs::CODEC_ID_MP2,
            _ => codecs::CODEC_ID_MP3,
        };
        blocks::params(codec, self.rate, self.channels)
    }

    /// Why the decoder does not take such frames: in layer II not every bit rate goes with every
    /// number of channels (ISO 11172-3, 2.4.2.3).
    pub(super) fn obstacle(&self) -> Option<String> {
        let (refused, channels): (&[u32], _) = match self.channels {
            1 => (&[224, 256, 320, 384], "one channel"),
            _ => (&[32, 48, 56, 80], "two channels"),
        };
        let kbps = self.kbps;
        (self.layer == 2 && refused.contains(&kbps))
            .then(|| format!("{kbps} kbit/s in {channels} is no layer II that can be decoded"))
    }

    pub(super) fn side_bytes(&self) -> usize {
        match (self.is_version_1, self.channels) {
            (true, 1) => 17,
            (true, _) => 32,
            (false, 1) => 9,
            (false, _) => 17,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let header = Header::read(0xfffb_9064).unwrap();
        assert_eq!(
            (header.rate, header.bytes, header.samples),
            (44_100, 417, 1152)
        );
        let header = Header::read(0xfff3_40c4).unwrap();
        assert_eq!(
            (header.rate, header.channels, header.samples),
            (22_050, 1, 576)
        );
        for word in [
            0xffff_ffff,
            0xfffb_f064,
            0xfffb_0064,
            0xffe8_9064,
            0x1234_5678,
        ] {
            assert_eq!(Header::read(word), None, "{word:x}");
        }
    }

    #[test]
    fn bit_rates_that_layer_2_does_not_have() {
        let said = |word| Header::read(word).unwrap().obstacle();
        // 384 and 192 kbit/s in one channel, 384 and 48 in two; the latter in layer III.
        let mono = "384 kbit/s in one channel is no layer II that can be decoded";
        assert_eq!(said(0xfffd_e0c4).as_deref(), Some(mono));
        assert_eq!((said(0xfffd_a0c4), said(0xfffd_e004)), (None, None));
        assert!(said(0xfffd_2004).unwrap().contains("two channels"));
        assert_eq!(said(0xfffb_3004), None);
    }
}
