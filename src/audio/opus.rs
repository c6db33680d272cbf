//! Opus packets to interleaved samples at 48 kHz, as RFC 7845 tells a player to treat them.

use ropus::{Channels as Layout, DecodeMode, Decoder, OpusMSDecoder};
use symphonia::core::audio::{Channels, Position};

/// Opus always decodes to this rate.
pub(super) const OPUS_RATE: u32 = 48_000;
/// Frames in the longest packet, 120 ms.
const MAX_PACKET_FRAMES: usize = 5760;
const MAGIC: &[u8] = b"OpusHead";
const HEAD_BYTES: usize = 19;
/// Full scale of the integers that several streams decode to.
const FULL_SCALE: f32 = 8_388_608.0;

/// Where the channels of family 1 stand, in the order of their numbers (RFC 7845, section 5.1.1.2).
const PLACES: [&[Position]; 8] = {
    use Position as P;
    const L: Position = P::FRONT_LEFT;
    const R: Position = P::FRONT_RIGHT;
    const C: Position = P::FRONT_CENTER;
    const RL: Position = P::REAR_LEFT;
    const RR: Position = P::REAR_RIGHT;
    const SL: Position = P::SIDE_LEFT;
    const SR: Position = P::SIDE_RIGHT;
    [
        &[C],
        &[L, R],
        &[L, C, R],
        &[L, R, RL, RR],
        &[L, C, R, RL, RR],
        &[L, C, R, RL, RR, P::LFE1],
        &[L, C, R, SL, SR, P::REAR_CENTER, P::LFE1],
        &[L, C, R, SL, SR, RL, RR, P::LFE1],
    ]
};

/// The fields of an identification header that decoding needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpusHead {
    pub(super) channels: u8,
    /// Frames at 48 kHz to drop from the start.
    pub(super) pre_skip: u16,
    /// Gain in 1/256 dB.
    gain: i16,
    /// Streams, how many of them are of two channels, and the decoded channel of each; `None` is
    /// one stream of one or two.
    streams: Option<(u8, u8, Vec<u8>)>,
    /// Whether the channels have the places of family 1.
    has_places: bool,
}

impl OpusHead {
    /// Reads an identification header; an error says what is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(MAGIC) {
            return Err("its header is missing");
        }
        let fixed: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or("its header is too short")?;
        let (channels, family) = (fixed[9], fixed[18]);
        let streams = match (family, channels) {
            (_, 0) => return Err("its header names no channels"),
            (0 | 1, 1..=2) => None,
            (0, _) => return Err("its header has too many channels"),
            (1, 9..) => return Err("its header has too many channels"),
            (1 | 255, _) => {
                let count = usize::from(channels);
                let mapping = bytes.get(HEAD_BYTES + 2..HEAD_BYTES + 2 + count);
                let mapping = mapping.ok_or("its header is too short")?.to_vec();
                Some((bytes[HEAD_BYTES], bytes[HEAD_BYTES + 1], mapping))
            }
            _ => return Err("its channels are mapped in a way that is not known"),
        };
        Ok(Self {
            channels,
            pre_skip: u16::from_le_bytes([fixed[10], fixed[11]]),
            gain: i16::from_le_bytes([fixed[16], fixed[17]]),
            streams,
            has_places: family == 1,
        })
    }

    /// A header for streams that bring none.
    pub(super) fn plain(channels: u8) -> Self {
        Self {
            channels: channels.clamp(1, 2),
            pre_skip: 0,
            gain: 0,
            streams: None,
            has_places: false,
        }
    }
}

enum Streams {
    One(Box<Decoder>),
    Several(Box<OpusMSDecoder>, Vec<i32>),
}

/// A decoder of one Opus stream.
pub(super) struct OpusPackets {
    streams: Streams,
    channels: usize,
    layout: Channels,
    pcm: Vec<f32>,
}

impl OpusPackets {
    pub(super) fn new(head: &OpusHead) -> Result<Self, String> {
        let channels = usize::from(head.channels);
        let mut layout = Channels::Discrete(u16::from(head.channels));
        let streams = match &head.streams {
            None => {
                let one = match head.channels {
                    1 => Layout::Mono,
                    _ => Layout::Stereo,
                };
                let mut decoder = Decoder::new(OPUS_RATE, one).map_err(|e| e.to_string())?;
                decoder
                    .set_gain(i32::from(head.gain))
                    .map_err(|error| error.to_string())?;
                Streams::One(Box::new(decoder))
            }
            Some((streams, coupled, mapping)) => {
                let mut mapping = mapping.clone();
                if head.has_places {
                    (mapping, layout) = placed(&mapping);
                }
                let (streams, coupled) = (i32::from(*streams), i32::from(*coupled));
                let count = i32::from(head.channels);
                let rate = OPUS_RATE as i32;
                let mut decoder = OpusMSDecoder::new(rate, count, streams, coupled, &mapping)
                    .map_err(|code| format!("its streams make no sense ({code})"))?;
                decoder.set_gain(i32::from(head.gain));
                Streams::Several(Box::new(decoder), vec![0; MAX_PACKET_FRAMES * channels])
            }
        };
        Ok(Self {
            streams,
            channels,
            layout,
            pcm: vec![0.0; MAX_PACKET_FRAMES * channels],
        })
    }

    /// Where its channels stand.
    pub(super) fn layout(&self) -> Channels {
        self.layout.clone()
    }

    /// The interleaved frames of one packet, the header's gain applied.
    pub(super) fn decode(&mut self, packet: &[u8]) -> Result<&[f32], String> {
        let frames = match &mut self.streams {
            Streams::One(decoder) => decoder
                .decode_float(packet, &mut self.pcm, DecodeMode::Normal)
                .map_err(|error| error.to_string())?,
            Streams::Several(decoder, whole) => {
                let most = MAX_PACKET_FRAMES as i32;
                let frames = decoder
                    .decode24(Some(packet), packet.len() as i32, whole, most, false)
                    .map_err(|code| format!("Opus error {code}"))?;
                for (to, from) in self.pcm.iter_mut().zip(whole.iter()) {
                    *to = *from as f32 / FULL_SCALE;
                }
                usize::try_from(frames).unwrap_or(0)
            }
        };
        let len = (frames * self.channels).min(self.pcm.len());
        Ok(&self.pcm[..len])
    }
}

/// Sorts channels of family 1 by their places.
fn placed(mapping: &[u8]) -> (Vec<u8>, Channels) {
    let places = PLACES[mapping.len().clamp(1, PLACES.len()) - 1];
    let mut both: Vec<(Position, u8)> = places
        .iter()
        .copied()
        .zip(mapping.iter().copied())
        .collect();
    both.sort_by_key(|(place, _)| place.bits());
    let all = both
        .iter()
        .fold(Position::empty(), |sum, (place, _)| sum | *place);
    let mapping = both.into_iter().map(|(_, channel)| channel).collect();
    (mapping, Channels::Positioned(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_sorted_by_place() {
        // Left, centre, right, rear left, rear right, low frequencies.
        let (mapping, layout) = placed(&[0, 4, 1, 2, 3, 5]);
        assert_eq!((mapping, layout.count()), (vec![0, 1, 4, 5, 2, 3], 6));
    }

    #[test]
    fn headers() {
        let mut head = b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02".to_vec();
        assert!(OpusHead::read(&head).is_err());
        head.extend([0, 4, 1, 2, 3, 5]);
        let read = OpusHead::read(&head).unwrap();
        assert_eq!((read.channels, read.pre_skip), (6, 312));
        assert!(OpusPackets::new(&read).is_ok());
        head[18] = 0;
        assert!(OpusHead::read(&head).is_err());
        head[9] = 2;
        assert!(OpusHead::read(&head).is_ok());
    }
}
