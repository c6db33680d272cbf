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
}
