//! Containers: from bytes to the packets of one track, and what the headers say of all tracks.
//!
//! Each reader takes lengths that pass the end of the file as ending there, skips what is not the
//! chosen track, and says at the end whether the file was whole. symphonia reads FLAC and Ogg; the
//! others are read here, since its readers refuse a file for parts that nobody asked for.

pub(super) mod adts;
pub(super) mod aiff;
mod blocks;
mod bursts;
pub(super) mod caf;
pub(super) mod flac;
pub(super) mod matroska;
pub(super) mod mp4;
pub(super) mod mpeg;
pub(super) mod ogg;
mod seeking;
pub(super) mod wave;

use symphonia::core::codecs::audio::AudioCodecParameters;

/// An audio track as its headers describe it.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) params: AudioCodecParameters,
    /// The codec's name, where `params` cannot say it.
    pub(super) codec: Option<String>,
    /// Why it cannot be decoded, where the container says so (encryption, an unknown packing).
    pub(super) obstacle: Option<String>,
    /// ISO 639 code or tag as the container has it.
    pub(super) language: Option<String>,
    pub(super) is_default: bool,
    /// Seconds that the headers promise.
    pub(super) duration_s: Option<f64>,
    /// Seconds by which it starts late.
    pub(super) start_s: f64,
    /// Decoded frames to drop from its start, across packets.
    pub(super) skip_frames: u64,
}

/// The bytes that a decoder takes at once.
#[derive(Default)]
pub(super) struct Packet {
    pub(super) data: Vec<u8>,
    /// Frames that it decodes to, where the container knows (block codecs need it).
    pub(super) frames: u64,
    /// When its first frame that is kept is to be heard, in seconds.
    pub(super) at_s: Option<f64>,
    /// Decoded frames to drop from its start and its end.
    pub(super) trim_start: u64,
    pub(super) trim_end: u64,
    /// Parameters from here on, where they changed: the decoder is made anew.
    pub(super) change: Option<Box<Change>>,
}

/// New parameters in the middle of a stream.
pub(super) struct Change {
    pub(super) params: AudioCodecParameters,
    /// Decoded frames to drop from here on, across packets.
    pub(super) skip_frames: Option<u64>,
}

/// Why there is no packet.
pub(super) enum Fault {
    /// Reading failed: nothing more can be had.
    Io(std::io::Error),
    /// A piece was lost; asking again goes on behind it.
    Damaged(String),
    /// What goes on from here cannot be decoded, and why.
    Undecodable { codec: String, reason: String },
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether a file held what its headers promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every byte that was promised was there.
    Whole,
    /// Bytes were promised past the end of the file.
    CutShort,
    /// The container does not say; what it promised in seconds must do.
    Unknown,
}

/// A container whose tracks are known.
pub(super) trait Demuxer: Send + Sync {
    /// Its short name.
    fn container(&self) -> &'static str;

    /// Its audio tracks, in the order of the file.
    fn tracks(&self) -> &[Track];

    /// Chooses the track, by its place in `tracks`, whose packets are wanted; called once, before
    /// the first packet.
    fn select(&mut self, track: usize);

    /// The next packet of the chosen track; `None` at the end.
    fn next_packet(&mut self) -> Result<Option<Packet>, Fault>;

    /// Whether the file was whole, as far as it was read.
    fn ending(&self) -> Ending;

    /// What else the file holds that is passed over and may be sound.
    fn unheard(&self) -> Option<&'static str> {
        None
    }
}
