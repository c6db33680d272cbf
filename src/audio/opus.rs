//! Opus packets to interleaved samples at 48 kHz, as RFC 7845 tells a player to treat them.

use ropus::{Channels, DecodeMode, Decoder};

/// Opus always decodes to this rate.
pub(super) const OPUS_RATE: u32 = 48_000;
/// Frames in the longest packet, 120 ms.
const MAX_PACKET_FRAMES: usize = 5760;
const MAGIC: &[u8] = b"OpusHead";
const HEAD_BYTES: usize = 19;

/// The fields of an identification header that decoding needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpusHead {
    /// 1 or 2.
    pub(super) channels: u8,
    /// Frames at 48 kHz to drop from the start.
    pub(super) pre_skip: u16,
    /// Gain in 1/256 dB.
    gain: i16,
}

impl OpusHead {
    /// Reads an identification header; an error says what is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(MAGIC) {
            return Err("its header is missing");
        }
        let fixed: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or("its header is too short")?;
        let (channels, family) = (fixed[9], fixed[18]);
        if !(1..=2).contains(&channels) || family > 1 {
            return Err("only mono and stereo are supported");
        }
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([fixed[10], fixed[11]]),
            gain: i16::from_le_bytes([fixed[16], fixed[17]]),
        })
    }

    /// A header for streams that bring none.
    pub(super) fn plain(channels: u8) -> Self {
        Self {
            channels: channels.clamp(1, 2),
            pre_skip: 0,
            gain: 0,
        }
    }
}

/// A decoder of one Opus stream.
pub(super) struct OpusPackets {
    decoder: Decoder,
    channels: usize,
    pcm: Vec<f32>,
}

impl OpusPackets {
    pub(super) fn new(head: &OpusHead) -> Result<Self, String> {
        let layout = if head.channels == 1 {
            Channels::Mono
        } else {
            Channels::Stereo
        };
        let mut decoder = Decoder::new(OPUS_RATE, layout).map_err(|error| error.to_string())?;
        decoder
            .set_gain(i32::from(head.gain))
            .map_err(|error| error.to_string())?;
        let channels = usize::from(head.channels);
        Ok(Self {
            decoder,
            channels,
            pcm: vec![0.0; MAX_PACKET_FRAMES * channels],
        })
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// The interleaved frames of one packet, the header's gain applied.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Result<&[f32], String> {
        let frames = self
            .decoder
            .decode_float(packet, &mut self.pcm, DecodeMode::Normal)
            .map_err(|error| error.to_string())?;
        let len = (frames * self.channels).min(self.pcm.len());
        Ok(&self.pcm[..len])
    }
}
