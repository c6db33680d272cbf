//! Containers and codecs: from bytes to interleaved frames at the recording's own rate.
//!
//! symphonia demuxes and decodes, `ropus` takes Opus. What both leave open is done here:
//! caps on what headers may claim, MP4 edit lists, Opus pre-skip and end trimming, packets that
//! do not decode. One thing stays open: what a Matroska block says of padding at its end
//! (`DiscardPadding`) never leaves the demuxer, so up to a packet of it, 20 ms of Opus, is heard.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{self as codecs, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions, CODEC_ID_NULL_AUDIO,
};
use symphonia::core::errors::Error as MediaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::codec::{Depth, codec_name, depth};
use super::edit_list;
use super::opus::{OPUS_RATE, OpusHead, OpusPackets};
use super::source::Source;
use crate::error::{Error, Result};

/// Sample rates that are taken seriously.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
const MAX_CHANNELS: usize = 32;
/// Frames that one packet may hold; more is a hostile header.
const MAX_PACKET_FRAMES: u64 = 1 << 18;
/// Errors in a row after which the rest of a file is given up.
const MAX_FAILURES: usize = 64;

/// What the headers say.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    pub(super) container: String,
    pub(super) codec: String,
    /// What the codec decodes to.
    pub(super) depth: Depth,
    pub(super) duration_s: Option<f64>,
    pub(super) start_s: f64,
}

/// Decoded frames, interleaved.
pub(super) struct Frames {
    pub(super) rate: u32,
    pub(super) channels: Channels,
    pub(super) samples: Vec<f32>,
}

impl Frames {
    /// Drops what the container marks as priming or padding.
    fn trim(&mut self, packet: &Packet) {
        let channels = self.channels.count().max(1);
        let samples = |frames: u64| {
            usize::try_from(frames)
                .unwrap_or(usize::MAX)
                .saturating_mul(channels)
        };
        let end = self
            .samples
            .len()
            .saturating_sub(samples(packet.trim_end.get()));
        self.samples.truncate(end);
        self.samples
            .drain(..samples(packet.trim_start.get()).min(end));
    }
}

enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<OpusPackets>),
}

impl Decoder {
    fn symphonia(&self) -> Option<&dyn AudioDecoder> {
        match self {
            Self::Symphonia(decoder) => Some(decoder.as_ref()),
            Self::Opus(_) => None,
        }
    }
}

/// One audio track being decoded.
pub(super) struct Container {
    name: String,
    format: Box<dyn FormatReader>,
    decoder: Decoder,
    track_id: u32,
    pub(super) description: Description,
    frames: Frames,
    /// Frames still to drop from the start.
    skip_frames: u64,
    /// Whether the packets' own marks of priming and padding are to be followed here.
    trims: bool,
    /// Packets read ahead.
    held: VecDeque<Packet>,
    /// Packets that could not be read or decoded, in all and in a row.
    bad_packets: usize,
    failures: usize,
    last_failure: String,
    is_cut_short: bool,
}

impl Container {
    pub(super) fn open(name: &str, mut source: Source) -> Result<Self> {
        let len = source.len();
        let edits = edit_list::read(&mut source, len);
        let format = guarded(name, || probe(name, source))?;
        let track = choose_track(name, format.as_ref())?.clone();
        let edit = edits.get(&track.id).copied();
        let params = audio_params(&track).cloned().unwrap_or_default();
        let codec = codec_name(&params);
        check(name, &codec, &params)?;
        let head = (params.codec == CODEC_ID_OPUS).then(|| opus_head(&params));
        let decoder = guarded(name, || make_decoder(name, &codec, &params))?;
        let rate = f64::from(params.sample_rate.unwrap_or(OPUS_RATE));
        let skip_frames = match (edit, head) {
            (Some(edit), _) => (edit.skip_s * rate).round() as u64,
            (None, Some(Ok(head))) => u64::from(head.pre_skip),
            _ => 0,
        };
        let description = Description {
            container: format.format_info().short_name.to_owned(),
            codec,
            depth: depth(&params, decoder.symphonia()),
            duration_s: duration_s(&track, format.as_ref(), rate),
            start_s: edit.map_or_else(|| start_s(&track), |edit| edit.delay_s),
        };
        let mut container = Self {
            name: name.to_owned(),
            format,
            decoder,
            track_id: track.id,
            description,
            frames: Frames {
                rate: 0,
                channels: Channels::None,
                samples: Vec::new(),
            },
            skip_frames,
            trims: params.codec == CODEC_ID_OPUS
                || params.codec == codecs::CODEC_ID_MP3 && track.delay.is_some(),
            held: VecDeque::new(),
            bad_packets: 0,
            failures: 0,
            last_failure: String::new(),
            is_cut_short: false,
        };
        guarded(name, || container.hold_first(params.codec))?;
        Ok(container)
    }

    /// Drops the first frame of an MPEG stream when its header does not fit the second's, as
    /// ffmpeg does: it is a tag, not audio.
    fn hold_first(&mut self, codec: AudioCodecId) -> Result<()> {
        const SAME: u32 = 0xfffe_0ccf;
        if codec != codecs::CODEC_ID_MP3 || self.description.container != "mp3" {
            return Ok(());
        }
        let header = |packet: &Packet| packet.data.first_chunk().map(|b| u32::from_be_bytes(*b));
        let Some(first) = self.next_packet()? else {
            return Ok(());
        };
        let second = self.next_packet()?;
        let is_audio = second.as_ref().is_none_or(|second| {
            header(&first)
                .zip(header(second))
                .is_some_and(|(a, b)| (a ^ b) & SAME == 0)
        });
        self.held.extend(second);
        if is_audio {
            self.held.push_front(first);
        }
        Ok(())
    }

    /// The next decoded frames, never empty; `None` at the end.
    pub(super) fn next_frames(&mut self) -> Result<Option<&Frames>> {
        let name = self.name.clone();
        let has_frames = guarded(&name, || self.advance())?;
        Ok(has_frames.then_some(&self.frames))
    }

    /// What went wrong on the way without stopping it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.bad_packets > 0 {
            let (n, why) = (self.bad_packets, &self.last_failure);
            warnings.push(format!("{n} damaged packets skipped ({why})"));
        }
        if self.is_cut_short {
            warnings.push(format!("the rest cannot be read ({})", self.last_failure));
        }
        warnings
    }

    /// Decodes until there are frames; false at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let packet = match self.held.pop_front() {
                Some(packet) => packet,
                None => match self.next_packet()? {
                    Some(packet) => packet,
                    None => return Ok(false),
                },
            };
            if let Err(reason) = self.decode(&packet) {
                if self.fail(&reason) {
                    return Ok(false);
                }
                continue;
            }
            self.failures = 0;
            self.skip_start();
            if !self.frames.samples.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The next packet of the chosen track.
    fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(MediaError::ResetRequired) => self.reset()?,
                Err(error) if is_end(&error) => return Ok(None),
                Err(MediaError::IoError(error)) => {
                    return Err(Error::Input {
                        input: self.name.clone(),
                        source: error,
                    });
                }
                Err(error) => {
                    if self.fail(&error.to_string()) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Counts a failure; true when there were too many to go on.
    fn fail(&mut self, reason: &str) -> bool {
        self.bad_packets += 1;
        self.failures += 1;
        reason.clone_into(&mut self.last_failure);
        self.is_cut_short = self.failures >= MAX_FAILURES;
        self.is_cut_short
    }

    fn decode(&mut self, packet: &Packet) -> Result<(), String> {
        self.frames.samples.clear();
        match &mut self.decoder {
            Decoder::Symphonia(decoder) => {
                let buffer = decoder.decode(packet).map_err(|error| error.to_string())?;
                let spec = buffer.spec();
                let count = spec.channels().count();
                if !RATES.contains(&spec.rate()) || count == 0 || count > MAX_CHANNELS {
                    return Err(format!("{count} channels at {} Hz", spec.rate()));
                }
                self.frames.rate = spec.rate();
                self.frames.channels.clone_from(spec.channels());
                buffer.copy_to_vec_interleaved(&mut self.frames.samples);
            }
            Decoder::Opus(decoder) => {
                self.frames.rate = OPUS_RATE;
                self.frames.channels = Channels::Discrete(decoder.channels() as u16);
                self.frames
                    .samples
                    .extend_from_slice(decoder.decode(&packet.data)?);
            }
        }
        if self.trims {
            self.frames.trim(packet);
        }
        Ok(())
    }

    fn skip_start(&mut self) {
        if self.skip_frames == 0 {
            return;
        }
        let channels = self.frames.channels.count().max(1);
        let frames = self.frames.samples.len() / channels;
        let skipped = frames.min(usize::try_from(self.skip_frames).unwrap_or(usize::MAX));
        self.frames.samples.drain(..skipped * channels);
        self.skip_frames -= skipped as u64;
    }

    /// Chained streams begin anew with their own headers.
    fn reset(&mut self) -> Result<()> {
        let track = choose_track(&self.name, self.format.as_ref())?;
        let params = audio_params(track).cloned().unwrap_or_default();
        let codec = codec_name(&params);
        check(&self.name, &codec, &params)?;
        if params.codec == CODEC_ID_OPUS {
            self.skip_frames = opus_head(&params).map_or(0, |head| u64::from(head.pre_skip));
        }
        self.track_id = track.id;
        self.decoder = make_decoder(&self.name, &codec, &params)?;
        Ok(())
    }
}

/// Runs third-party code; a panic in it becomes an error, since a file must never end the program.
fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "it is damaged in a way that the decoder cannot handle".to_owned();
        Err(Error::Audio {
            input: name.to_owned(),
            reason,
        })
    })
}

fn probe(name: &str, source: Source) -> Result<Box<dyn FormatReader>> {
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|error| {
            let reason = match error {
                MediaError::IoError(error) if !is_eof(&error) => error.to_string(),
                MediaError::IoError(_) => "it ends inside its header".to_owned(),
                MediaError::Unsupported(what) if what.contains("no suitable format") => {
                    "it is no audio file of a known format".to_owned()
                }
                error => format!("its header cannot be read: {error}"),
            };
            Error::Audio {
                input: name.to_owned(),
                reason,
            }
        })
}

fn audio_params(track: &Track) -> Option<&AudioCodecParameters> {
    match &track.codec_params {
        Some(CodecParameters::Audio(params)) => Some(params),
        _ => None,
    }
}

/// The first audio track whose codec is known, or else the first audio track.
fn choose_track<'f>(name: &str, format: &'f dyn FormatReader) -> Result<&'f Track> {
    let is_audio = |track: &&Track| audio_params(track).is_some();
    let known = |track: &&Track| {
        audio_params(track).is_some_and(|params| params.codec != CODEC_ID_NULL_AUDIO)
    };
    let tracks = format.tracks();
    if let Some(track) = tracks
        .iter()
        .find(known)
        .or_else(|| tracks.iter().find(is_audio))
    {
        return Ok(track);
    }
    let has_unknown = tracks.iter().any(|track| track.codec_params.is_none());
    if has_unknown && format.first_track(TrackType::Video).is_none() {
        return Err(Error::Codec {
            input: name.to_owned(),
            codec: "its track".to_owned(),
            reason: "the codec is unknown".to_owned(),
        });
    }
    let what = if tracks.is_empty() {
        "no track"
    } else {
        "no audio track that can be decoded"
    };
    Err(Error::Audio {
        input: name.to_owned(),
        reason: format!("it holds {what}"),
    })
}

/// Refuses headers that would make a decoder allocate or compute absurd amounts.
fn check(name: &str, codec: &str, params: &AudioCodecParameters) -> Result<()> {
    let refuse = |reason: String| {
        Err(Error::Codec {
            input: name.to_owned(),
            codec: codec.to_owned(),
            reason,
        })
    };
    if let Some(rate) = params.sample_rate.filter(|rate| !RATES.contains(rate)) {
        return refuse(format!("a sample rate of {rate} Hz makes no sense"));
    }
    let channels = params.channels.as_ref().map(Channels::count);
    if let Some(channels) = channels.filter(|&n| n == 0 || n > MAX_CHANNELS) {
        return refuse(format!("{channels} channels make no sense"));
    }
    let alac_frames = (params.codec == codecs::CODEC_ID_ALAC)
        .then(|| params.extra_data.as_ref()?.first_chunk::<4>().copied())
        .flatten()
        .map(|bytes| u64::from(u32::from_be_bytes(bytes)));
    let packet_frames = params.max_frames_per_packet.max(alac_frames);
    if let Some(frames) = packet_frames.filter(|&frames| frames > MAX_PACKET_FRAMES) {
        return refuse(format!("packets of {frames} frames make no sense"));
    }
    Ok(())
}

fn opus_head(params: &AudioCodecParameters) -> Result<OpusHead, &'static str> {
    match &params.extra_data {
        Some(bytes) => OpusHead::read(bytes),
        None => {
            let channels = params.channels.as_ref().map_or(1, Channels::count);
            Ok(OpusHead::plain(u8::try_from(channels).unwrap_or(2)))
        }
    }
}

fn make_decoder(name: &str, codec: &str, params: &AudioCodecParameters) -> Result<Decoder> {
    let refuse = |reason: String| Error::Codec {
        input: name.to_owned(),
        codec: codec.to_owned(),
        reason,
    };
    if params.codec == CODEC_ID_OPUS {
        let head = opus_head(params).map_err(|reason| refuse(reason.to_owned()))?;
        return OpusPackets::new(&head)
            .map(|packets| Decoder::Opus(Box::new(packets)))
            .map_err(refuse);
    }
    // For MP3 files without exact counts the demuxer guesses their length from the bitrate and has
    // the decoder cut there; which marks are to be trusted is decided in `Container`.
    let is_mp3 = params.codec == codecs::CODEC_ID_MP3;
    let registry = symphonia::default::get_codecs();
    if registry.get_audio_decoder(params.codec).is_none() {
        return Err(refuse("no decoder for it".to_owned()));
    }
    registry
        .make_audio_decoder(params, &AudioDecoderOptions::default().gapless(!is_mp3))
        .map(Decoder::Symphonia)
        .map_err(|error| refuse(error.to_string()))
}

fn duration_s(track: &Track, format: &dyn FormatReader, rate: f64) -> Option<f64> {
    let by_frames = track.num_frames.map(|frames| frames as f64 / rate);
    let timed = |base: Option<_>, duration: Option<_>| {
        let base: symphonia::core::units::TimeBase = base?;
        Some(base.calc_duration(duration?)?.as_secs_f64())
    };
    let media = format.media_info();
    by_frames
        .or_else(|| timed(track.time_base, track.duration))
        .or_else(|| timed(media.time_base, media.duration))
        .filter(|&duration_s| duration_s > 0.0)
}

fn start_s(track: &Track) -> f64 {
    let start = track
        .time_base
        .and_then(|base| base.calc_time(track.start_ts));
    start.map_or(0.0, |time| time.as_secs_f64().max(0.0))
}

fn is_end(error: &MediaError) -> bool {
    matches!(error, MediaError::IoError(error) if is_eof(error))
}

fn is_eof(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}
