//! A recording's one track, decoded: interleaved frames at its own rate.
//!
//! `demux` gives packets, symphonia and `ropus` decode them. What both leave open is done here: caps
//! on what headers may claim, priming and padding, formats that change on the way, gaps between
//! packets, packets that do not decode.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::AudioCodecParameters;

use super::decoder::{self, Decoder, Frames, RATES};
use super::demux::{self, Change, Demuxer, Ending, Fault, Packet};
use super::input::{AudioOptions, Gaps};
use super::recognise::{Found, Kind, recognise};
use super::source::{Source, unreadable};
use super::track::{self, Chosen};
use crate::error::{Error, Result};

/// Errors in a row after which the rest of a file is given up.
const MAX_FAILURES: usize = 64;
/// Seconds that a packet may be late before it counts as a gap: more than a packet, and than what
/// clocks of containers round away.
const GAP_S: f64 = 0.1;
/// A gap that is longer is a broken clock.
const MAX_GAP_S: f64 = 86_400.0;
/// Frames of silence that are handed on at once.
const SILENCE_FRAMES: u64 = 48_000;

/// What the headers say.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    pub(super) container: String,
    pub(super) codec: String,
    pub(super) duration_s: Option<f64>,
    pub(super) start_s: f64,
}

/// One audio track being decoded.
pub(super) struct Container {
    name: String,
    demuxer: Box<dyn Demuxer>,
    params: AudioCodecParameters,
    decoder: Decoder,
    pub(super) description: Description,
    frames: Frames,
    /// Frames still to drop from the start.
    skip_frames: u64,
    gaps: Gaps,
    /// Seconds handed on, silence included, and where packets' times have got to.
    position_s: f64,
    reached_s: f64,
    /// Frames of silence to hand on before those that are decoded.
    silence: u64,
    held: Vec<f32>,
    /// What was found out before the first packet.
    warnings: Vec<String>,
    /// Packets that could not be read or decoded, in all and in a row.
    bad_packets: usize,
    failures: usize,
    last_failure: String,
    is_cut_short: bool,
}

/// Opens what a file turns out to be.
pub(super) fn open_demuxer(name: &str, mut source: Source) -> Result<Box<dyn Demuxer>> {
    let fail = |error| unreadable(name, error);
    let refuse = |reason: String| Error::Audio {
        input: name.to_owned(),
        reason,
    };
    let kind = match recognise(&mut source).map_err(fail)? {
        Found::Known(kind) => kind,
        Found::Media(what) => return Err(track::undecoded(name, what, "nothing here reads it")),
        Found::NoAudio(what) => return Err(refuse(format!("it is {what}, no audio file"))),
        Found::Unknown => return Err(refuse("it is no audio file of a known format".to_owned())),
    };
    let opened = match kind {
        Kind::Wave => demux::wave::open(source),
        Kind::Aiff => demux::aiff::open(source),
        Kind::Caf => demux::caf::open(source),
        Kind::Flac => demux::flac::open(source),
        Kind::Ogg => demux::ogg::open(source),
        Kind::Matroska => demux::matroska::open(source),
        Kind::Mp4 => demux::mp4::open(source),
        Kind::Mpeg(start) => demux::mpeg::Mpeg::open(source, start, u64::MAX, "mp3")
            .map(|stream| Ok(Box::new(stream) as Box<dyn Demuxer>)),
        Kind::Adts(start) => demux::adts::Adts::open(source, start)
            .map(|stream| Ok(Box::new(stream) as Box<dyn Demuxer>)),
    };
    opened
        .map_err(fail)?
        .map_err(|reason| refuse(format!("its header cannot be read: {reason}")))
}

impl Container {
    pub(super) fn open(name: &str, source: Source, options: &AudioOptions) -> Result<Self> {
        let mut demuxer = guarded(name, || open_demuxer(name, source))?;
        let Chosen {
            index,
            decoder,
            warnings,
        } = guarded(name, || track::choose(name, demuxer.tracks(), options))?;
        let track = demuxer.tracks()[index].clone();
        guarded(name, || {
            demuxer.select(index);
            Ok(())
        })?;
        Ok(Self {
            name: name.to_owned(),
            description: Description {
                container: demuxer.container().to_owned(),
                codec: track::codec_name(&track),
                duration_s: track.duration_s,
                start_s: track.start_s,
            },
            demuxer,
            frames: Frames {
                rate: 0,
                channels: Channels::None,
                depth: decoder.depth(&track.params),
                samples: Vec::new(),
            },
            decoder,
            params: track.params,
            skip_frames: track.skip_frames,
            gaps: options.gaps,
            position_s: 0.0,
            reached_s: 0.0,
            silence: 0,
            held: Vec::new(),
            warnings,
            bad_packets: 0,
            failures: 0,
            last_failure: String::new(),
            is_cut_short: false,
        })
    }

    /// The next decoded frames, never empty; `None` at the end.
    pub(super) fn next_frames(&mut self) -> Result<Option<&Frames>> {
        let name = self.name.clone();
        let has_frames = guarded(&name, || self.advance())?;
        Ok(has_frames.then_some(&self.frames))
    }

    /// What went wrong on the way without stopping it, after `heard_s` seconds of samples.
    pub(super) fn warnings(&self, heard_s: f64) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        if self.bad_packets > 0 {
            let (n, why) = (self.bad_packets, &self.last_failure);
            warnings.push(format!("{n} damaged packets skipped ({why})"));
        }
        if self.is_cut_short {
            warnings.push(format!("the rest cannot be read ({})", self.last_failure));
        }
        warnings.extend(self.demuxer.unheard().map(str::to_owned));
        warnings.extend(self.truncation(heard_s));
        warnings
    }

    /// Whether the file held less than its headers promise.
    fn truncation(&self, heard_s: f64) -> Option<String> {
        /// Seconds that may be missing from the end before it is worth a warning.
        const MISSING_S: f64 = 0.25;
        let reached_s = self.reached_s.max(heard_s);
        let promised_s = self.description.duration_s;
        let ending = self.demuxer.ending();
        let promised = promised_s.filter(|s| match ending {
            Ending::CutShort => *s > reached_s,
            _ => s - reached_s > MISSING_S.max(s * 0.01),
        });
        match (ending, promised) {
            (Ending::Whole, _) | (Ending::Unknown, None) => None,
            (Ending::Unknown, Some(promised_s)) => Some(format!(
                "truncated: the header promises {promised_s:.1} s, {heard_s:.1} s could be decoded"
            )),
            (Ending::CutShort, Some(promised_s)) => Some(format!(
                "truncated: the header promises {promised_s:.1} s, {heard_s:.1} s are there"
            )),
            (Ending::CutShort, None) => Some(format!(
                "truncated: the file ends before its container does, {heard_s:.1} s are there"
            )),
        }
    }

    /// Decodes until there are frames; false at the end.
    fn advance(&mut self) -> Result<bool> {
        if self.silence > 0 || !self.held.is_empty() {
            return Ok(self.silence_or_held());
        }
        loop {
            let Some(packet) = self.next_packet()? else {
                return Ok(false);
            };
            if let Err(reason) = self.decode(packet) {
                if self.fail(&reason) {
                    return Ok(false);
                }
                continue;
            }
            self.failures = 0;
            if !self.frames.samples.is_empty() {
                return Ok(self.silence == 0 || self.silence_or_held());
            }
        }
    }

    /// Hands on the silence of a gap, and then the frames behind it.
    fn silence_or_held(&mut self) -> bool {
        if self.silence == 0 {
            self.frames.samples = std::mem::take(&mut self.held);
            return true;
        }
        if self.held.is_empty() {
            self.held = std::mem::take(&mut self.frames.samples);
        }
        let frames = self.silence.min(SILENCE_FRAMES);
        self.silence -= frames;
        let samples = frames as usize * self.frames.channels.count();
        self.frames.samples.clear();
        self.frames.samples.resize(samples, 0.0);
        true
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            match self.demuxer.next_packet() {
                Ok(packet) => return Ok(packet),
                Err(Fault::Io(error)) => return Err(unreadable(&self.name, error)),
                Err(Fault::Damaged(reason)) => {
                    if self.fail(&reason) {
                        return Ok(None);
                    }
                }
                Err(Fault::Undecodable { codec, reason }) => {
                    return Err(track::undecoded(&self.name, &codec, &reason));
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

    fn decode(&mut self, mut packet: Packet) -> Result<(), String> {
        if let Some(change) = packet.change.take() {
            self.change(*change)?;
        }
        self.frames.samples.clear();
        let decoded = self.decoder.decode(&packet, &mut self.frames);
        if let Err(reason) = decoded {
            let Some(params) = decoder::changed(&self.params, &packet.data) else {
                return Err(reason);
            };
            self.change(Change {
                params,
                skip_frames: None,
            })?;
            self.decoder.decode(&packet, &mut self.frames)?;
        }
        let count = self.frames.channels.count();
        if !RATES.contains(&self.frames.rate) || count == 0 || count > decoder::MAX_CHANNELS {
            self.frames.samples.clear();
            return Err(format!("{count} channels at {} Hz", self.frames.rate));
        }
        if !self.decoder.trims_itself() {
            self.frames.trim(packet.trim_start, packet.trim_end);
        }
        let skipped = self.frames.count().min(self.skip_frames);
        self.frames.trim(skipped, 0);
        self.skip_frames -= skipped;
        self.keep_time(packet.at_s);
        Ok(())
    }

    /// Compares when frames are to be heard with how many came before.
    fn keep_time(&mut self, at_s: Option<f64>) {
        let frames = self.frames.count();
        if frames == 0 {
            return;
        }
        let rate = f64::from(self.frames.rate);
        let gap_s = at_s.map_or(0.0, |at_s| at_s - self.position_s);
        if self.gaps == Gaps::Keep && (GAP_S..MAX_GAP_S).contains(&gap_s) {
            self.silence = (gap_s * rate).round() as u64;
            self.position_s += gap_s;
        }
        self.position_s += frames as f64 / rate;
        let end_s = at_s.map_or(0.0, |at_s| at_s + frames as f64 / rate);
        self.reached_s = self.reached_s.max(end_s).max(self.position_s);
    }

    /// Goes on with new parameters: the decoder is made anew.
    fn change(&mut self, change: Change) -> Result<(), String> {
        self.decoder = Decoder::new(&change.params)?;
        self.frames.depth = self.decoder.depth(&change.params);
        self.params = change.params;
        if let Some(frames) = change.skip_frames {
            self.skip_frames = frames;
        }
        Ok(())
    }
}

/// Runs third-party code; a panic in it becomes an error, since a file must never end the program.
pub(super) fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "it is damaged in a way that the decoder cannot handle".to_owned();
        Err(Error::Audio {
            input: name.to_owned(),
            reason,
        })
    })
}
