//! What AAC says of itself: MPEG-4 descriptors and the audio configuration inside them
//! (ISO/IEC 14496-1, section 7.2.6, and 14496-3, section 1.6.2.1).

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::vorbis::vorbis_headers;

/// Rates by their index.
pub(super) const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
/// The object type of the low complexity profile, which is what is decoded.
const LOW_COMPLEXITY: u32 = 2;
/// The index that stands for a rate in 24 bits.
const RATE_IN_FULL: u32 = 15;

/// What a stream descriptor (`esds`) holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Descriptor {
    /// The object type, which tells AAC from MP3 and others.
    object: u8,
    /// The decoder's configuration, empty where there is none.
    config: Vec<u8>,
}

impl Descriptor {
    /// Finds both in the bytes behind the version of an `esds` atom. Lengths are cut to what is
    /// there.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut found = None;
        while let Some((tag, body, rest)) = descriptor(bytes) {
            bytes = match tag {
                3 => {
                    let flags = *body.get(2)?;
                    let mut skip = 3 + if flags & 0x80 != 0 { 2 } else { 0 };
                    if flags & 0x40 != 0 {
                        skip += 1 + usize::from(*body.get(skip)?);
                    }
                    skip += if flags & 0x20 != 0 { 2 } else { 0 };
                    body.get(skip..)?
                }
                4 => {
                    found = Some(Self {
                        object: *body.first()?,
                        config: Vec::new(),
                    });
                    body.get(13..).unwrap_or_default()
                }
                5 => {
                    found.get_or_insert_default().config = body.to_vec();
                    break;
                }
                _ => rest,
            };
        }
        found
    }

    /// The codec and its configuration, put into `params`; a name where nothing decodes it.
    pub(super) fn apply(&self, params: &mut AudioCodecParameters) -> Result<(), String> {
        match object(self.object) {
            Ok(codecs::CODEC_ID_AAC) => apply(&self.config, params),
            Ok(codec) => {
                params.for_codec(codec);
                if let Some(headers) = vorbis_headers(&self.config)
                    && codec == codecs::CODEC_ID_VORBIS
                {
                    params.with_extra_data(headers.into());
                }
                Ok(())
            }
            Err(name) => Err(name),
        }
    }
}

/// The codec of an object type of MPEG-4 systems.
fn object(kind: u8) -> Result<AudioCodecId, String> {
    match kind {
        0 | 0x40 | 0x66..=0x68 => Ok(codecs::CODEC_ID_AAC),
        0x69 | 0x6b => Ok(codecs::CODEC_ID_MP3),
        0xdd => Ok(codecs::CODEC_ID_VORBIS),
        0xad => Ok(codecs::CODEC_ID_OPUS),
        0xc1 => Ok(codecs::CODEC_ID_FLAC),
        0xa5 => Err("AC-3".to_owned()),
        0xa6 => Err("E-AC-3".to_owned()),
        0xa9..=0xac => Err("DTS".to_owned()),
        0xe1 => Err("QCELP".to_owned()),
        kind => Err(format!("an unknown codec (MPEG-4 object 0x{kind:02x})")),
    }
}

/// Tag, body and what follows.
fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let tag = *bytes.first()?;
    let (mut at, mut len) = (1, 0usize);
    for _ in 0..4 {
        let byte = *bytes.get(at)?;
        at += 1;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let end = bytes.len().min(at.checked_add(len)?);
    Some((tag, &bytes[at..end], &bytes[end..]))
}

/// Bits from the high end of bytes; zeros past the end.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> u32 {
        let mut value = 0;
        for at in self.at..self.at + n {
            let byte = self.bytes.get(at / 8).copied().unwrap_or(0);
            value = value << 1 | u32::from(byte >> (7 - at % 8) & 1);
        }
        self.at += n;
        value
    }

    fn object_type(&mut self) -> u32 {
        match self.take(5) {
            31 => 32 + self.take(6),
            kind => kind,
        }
    }

    /// The index and the rate.
    fn rate(&mut self) -> (u32, u32) {
        match self.take(4) {
            RATE_IN_FULL => (RATE_IN_FULL, self.take(24)),
            index => (index, RATES.get(index as usize).copied().unwrap_or(0)),
        }
    }

    /// Channels of a program's elements, if they are one or two.
    fn program_channels(&mut self) -> Option<u32> {
        self.take(4 + 2 + 4);
        let [front, side, back, low] = [4, 4, 4, 2].map(|n| self.take(n));
        self.take(3 + 4);
        for n in [4, 4, 3] {
            if self.take(1) == 1 {
                self.take(n);
            }
        }
        let pairs: u32 = (0..front)
            .map(|_| {
                let is_pair = self.take(1);
                self.take(4);
                is_pair
            })
            .sum();
        let channels = front + pairs;
        (side + back + low == 0 && (1..=2).contains(&channels)).then_some(channels)
    }
}

/// Puts an AAC configuration into `params`. Plain low complexity of one or two channels is written
/// anew without what follows it, which decoders trip over; other profiles stay as they are and are
/// refused by the decoder, with their name.
pub(super) fn apply(config: &[u8], params: &mut AudioCodecParameters) -> Result<(), String> {
    params.for_codec(codecs::CODEC_ID_AAC);
    if config.len() < 2 {
        params.extra_data = None;
        return Ok(());
    }
    let mut bits = Bits {
        bytes: config,
        at: 0,
    };
    let kind = bits.object_type();
    let (index, rate) = bits.rate();
    let mut layout = bits.take(4);
    if rate > 0 {
        params.with_sample_rate(rate);
    }
    let is_long = bits.take(1) == 0;
    let after_core = if bits.take(1) == 1 { bits.take(14) } else { 0 };
    let is_extended = bits.take(1) == 1;
    if layout == 0 && kind == LOW_COMPLEXITY {
        layout = bits.program_channels().unwrap_or(0);
    }
    if (1..=2).contains(&layout) {
        params.with_channels(Channels::Discrete(layout as u16));
    }
    let is_plain = kind == LOW_COMPLEXITY && is_long && !is_extended && after_core == 0;
    if is_plain && !has_band_replication(config) && (1..=2).contains(&layout) {
        params.with_extra_data(written(index, rate, layout));
    } else {
        params.with_extra_data(config.into());
    }
    Ok(())
}

/// Whether spectral band replication is announced in the way that older decoders skip: a sync
/// word, object type 5, and a set flag.
pub(super) fn has_band_replication(config: &[u8]) -> bool {
    let tail = config.get(2..).unwrap_or_default();
    tail.windows(3)
        .any(|w| w[..2] == [0x56, 0xe5] && w[2] >> 7 == 1)
}

/// The configuration of low complexity.
fn written(index: u32, rate: u32, layout: u32) -> Box<[u8]> {
    let (bits, n) = match index {
        RATE_IN_FULL => (
            u64::from(LOW_COMPLEXITY) << 35
                | 15 << 31
                | u64::from(rate) << 7
                | u64::from(layout) << 3,
            5,
        ),
        _ => (
            u64::from(LOW_COMPLEXITY) << 11 | u64::from(index) << 7 | u64::from(layout) << 3,
            2,
        ),
    };
    bits.to_be_bytes()[8 - n..].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(config: &[u8]) -> AudioCodecParameters {
        let mut params = AudioCodecParameters::new();
        apply(config, &mut params).unwrap();
        params
    }

    #[test]
    fn configurations_are_written_anew() {
        let cases: [(&[u8], &[u8], u32); 5] = [
            (&[0x12, 0x10], &[0x12, 0x10], 44_100),
            (&[0x12, 0x08, 0x56], &[0x12, 0x08], 44_100),
            (&[0x14, 0x08, 0x56, 0xe5, 0], &[0x14, 0x08], 16_000),
            (
                &[0x12, 0x10, 0x56, 0xe5, 0x80],
                &[0x12, 0x10, 0x56, 0xe5, 0x80],
                44_100,
            ),
            (
                &[0x17, 0x80, 0x3e, 0x80, 0x10, 7],
                &[0x17, 0x80, 0x3e, 0x80, 0x10],
                32_000,
            ),
        ];
        for (config, expected, rate) in cases {
            let params = applied(config);
            assert_eq!(params.extra_data.as_deref(), Some(expected));
            assert_eq!(params.sample_rate, Some(rate));
        }
        assert_eq!(applied(&[0x12]).extra_data, None);
    }

    #[test]
    fn descriptors_of_any_length() {
        let plain = [
            3, 22, 0, 1, 0, 4, 17, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0x12, 8,
        ];
        let found = Descriptor::read(&plain).unwrap();
        assert_eq!(
            (found.object, found.config.as_slice()),
            (0x40, &[0x12, 8][..])
        );
        for cut in 0..plain.len() {
            Descriptor::read(&plain[..cut]);
        }
        let mut params = AudioCodecParameters::new();
        assert_eq!(
            Descriptor {
                object: 0xa5,
                config: Vec::new()
            }
            .apply(&mut params),
            Err("AC-3".to_owned())
        );
    }
}
