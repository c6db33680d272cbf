//! What a file holds: its container and its audio tracks, and which of them would be heard.

use serde::Serialize;
use symphonia::core::audio::Channels;

use super::container::{guarded, open_demuxer};
use super::demux::Track;
use super::input::{AudioOptions, Input};
use super::source::Source;
use super::track;
use crate::error::Result;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// The name used in messages.
    pub name: String,
    /// The container's short name, for example `isomp4`.
    pub container: String,
    /// Its audio tracks, in the order of the file.
    pub tracks: Vec<TrackInfo>,
    /// The number of the track that would be heard, if any can be.
    pub taken: Option<usize>,
    /// Why none would be heard, or another than the one that is marked.
    pub warnings: Vec<String>,
}

/// What the headers say of one audio track.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrackInfo {
    /// Its place among the audio tracks, from 1 on.
    pub number: usize,
    /// The codec's name, for example `AAC (LC)`.
    pub codec: String,
    /// The language as the container has it.
    pub language: Option<String>,
    /// Whether the container marks it as the one to play.
    pub is_default: bool,
    /// Samples a second.
    pub sample_rate: Option<u32>,
    /// Channels.
    pub channels: Option<usize>,
    /// Seconds that the headers promise.
    pub duration_s: Option<f64>,
    /// Seconds by which it starts late.
    pub start_s: f64,
    /// Why it cannot be decoded, if it cannot.
    pub obstacle: Option<String>,
}

impl Contents {
    pub(super) fn read(input: Input, options: &AudioOptions) -> Result<Self> {
        let name = input.name();
        let source = Source::open(input, &options.limits)?;
        let demuxer = guarded(&name, || open_demuxer(&name, source))?;
        let tracks = demuxer.tracks();
        let (taken, warnings) = match guarded(&name, || track::choose(&name, tracks, options)) {
            Ok(chosen) => (Some(chosen.index + 1), chosen.warnings),
            Err(error) => (None, vec![error.to_string()]),
        };
        let describe = |(at, track)| guarded(&name, || Ok(TrackInfo::new(at + 1, track)));
        Ok(Self {
            container: demuxer.container().to_owned(),
            tracks: tracks
                .iter()
                .enumerate()
                .map(describe)
                .collect::<Result<_>>()?,
            taken,
            warnings,
            name,
        })
    }
}

impl TrackInfo {
    fn new(number: usize, track: &Track) -> Self {
        let params = &track.params;
        Self {
            number,
            codec: track::codec_name(track),
            language: track.language.clone(),
            is_default: track.is_default,
            sample_rate: params.sample_rate,
            channels: params.channels.as_ref().map(Channels::count),
            duration_s: track.duration_s,
            start_s: track.start_s,
            obstacle: track::decoder(track).err(),
        }
    }
}
