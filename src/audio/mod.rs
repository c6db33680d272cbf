//! From a recording in any container to blocks of 16 kHz mono samples.
//!
//! In: an [`Input`] (path, bytes, reader or samples). Out: an [`AudioStream`] whose blocks, put end
//! to end, are what `ffmpeg -ac 1 -ar 16000 -f s16le` writes for the same file, divided by 32768:
//! channels are folded, rates are changed and samples are rounded as ffmpeg's swresample does,
//! because that is the audio which openai/whisper hears.
//!
//! What stays true: memory does not grow with the length of the recording; damaged packets are
//! skipped and truncated files end early, each with a warning; hostile bytes end in an error. A
//! panic in a third-party decoder is caught at this module's edge and becomes an error too.

mod aac;
mod ahead;
mod codec;
mod container;
mod convert;
mod decoder;
mod demux;
mod downmix;
mod input;
mod language;
mod names;
mod opus;
mod places;
mod probe;
mod recognise;
mod resample;
mod source;
mod stream;
mod tags;
mod track;
mod vorbis;

pub use input::{AudioOptions, Gaps, Input, Limits, TrackChoice};
pub use probe::{Contents, TrackInfo};
pub use stream::{AudioInfo, AudioStream};

use crate::error::Result;

/// Opens `input` with defaults; as [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub fn open(input: impl Into<Input>, limits: &Limits) -> Result<AudioStream> {
    let options = AudioOptions {
        limits: *limits,
        ..AudioOptions::default()
    };
    open_with(input, &options)
}

/// Opens `input` and decodes as far as its first samples, so that what cannot be read fails here.
///
/// # Errors
/// [`Error::Input`](crate::error::Error::Input) when nothing can be read,
/// [`Error::Audio`](crate::error::Error::Audio) when it is no audio, or has no such track, and
/// [`Error::Codec`](crate::error::Error::Codec) when it is audio in a codec that is not decoded.
pub fn open_with(input: impl Into<Input>, options: &AudioOptions) -> Result<AudioStream> {
    AudioStream::open(input.into(), options)
}

/// What a file holds, by its headers alone.
///
/// # Errors
/// As [`open_with`], but for codecs that are not decoded: those are listed.
pub fn probe(input: impl Into<Input>, options: &AudioOptions) -> Result<Contents> {
    Contents::read(input.into(), options)
}
