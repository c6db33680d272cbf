//! A recording as a stream of blocks of 16 kHz mono samples.

use std::borrow::Cow;
use std::sync::Arc;

use super::ahead::{Ahead, Hand};
use super::container::Container;
use super::convert::Format;
use super::decoder::RATES;
use super::input::{AudioOptions, Input};
use super::source::Source;
use symphonia::core::audio::Channels;

use crate::dims::SAMPLE_RATE;
use crate::error::{Error, Result};

/// Samples of a given array that are handed on at once.
const BLOCK_SAMPLES: usize = 16_384;

/// What is known about a recording; complete once its stream has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AudioInfo {
    /// The name used in messages.
    pub name: String,
    /// The container's short name, for example `isomp4`.
    pub container: String,
    /// The codec's name, for example `AAC (LC)`.
    pub codec: String,
    /// Samples per second before resampling.
    pub sample_rate: u32,
    /// Channels before they were folded into one.
    pub channels: usize,
    /// Seconds of audio as the headers promise them.
    pub duration_hint_s: Option<f64>,
    /// Seconds by which the container says the audio starts late; no silence is put in for them.
    pub start_offset_s: f64,
    /// 16 kHz samples given out so far.
    pub samples: usize,
    /// What went wrong without stopping the work.
    pub warnings: Vec<String>,
}

impl AudioInfo {
    /// Seconds given out so far.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.samples as f64 / SAMPLE_RATE as f64
    }
}

enum Origin {
    File(Box<Container>),
    Array {
        data: Arc<dyn AsRef<[f32]> + Send + Sync>,
        position: usize,
    },
    /// Another stream, which runs on a thread of its own.
    Ahead(Ahead<AudioInfo>),
}

/// Blocks of 16 kHz mono samples between -1 and 1.
pub struct AudioStream {
    origin: Origin,
    options: AudioOptions,
    info: AudioInfo,
    format: Option<Format>,
    block: Vec<f32>,
    is_block_ready: bool,
    is_done: bool,
}

impl AudioStream {
    /// Opens `input` and decodes its first block.
    pub(super) fn open(input: Input, options: &AudioOptions) -> Result<Self> {
        let name = input.name();
        let mut info = AudioInfo {
            name: name.clone(),
            ..AudioInfo::default()
        };
        let (origin, format) = match input {
            Input::Samples {
                data, sample_rate, ..
            } => {
                info.container = "samples".to_owned();
                info.codec = "f32".to_owned();
                info.duration_hint_s =
                    Some((*data).as_ref().len() as f64 / f64::from(sample_rate.max(1)));
                let format = array_format(&name, sample_rate)?;
                (Origin::Array { data, position: 0 }, Some(format))
            }
            input => {
                let source = Source::open(input, &options.limits)?;
                let container = Container::open(&name, source, options)?;
                info.container.clone_from(&container.description.container);
                info.codec.clone_from(&container.description.codec);
                info.duration_hint_s = container.description.duration_s;
                info.start_offset_s = container.description.start_s;
                (Origin::File(Box::new(container)), None)
            }
        };
        let mut stream = Self {
            origin,
            options: options.clone(),
            info,
            format,
            block: Vec::new(),
            is_block_ready: false,
            is_done: false,
        };
        stream.is_block_ready = stream.fill()?;
        Ok(stream)
    }

    /// The same recording, decoded on a thread of its own from now on, up to a minute ahead of whoever listens. Dropping
    /// it ends that.
    ///
    /// # Errors
    /// [`Error::Thread`] where the system refuses a thread.
    pub fn ahead(self) -> Result<Self> {
        Ok(Self {
            options: self.options.clone(),
            info: self.info.clone(),
            format: None,
            block: Vec::new(),
            is_block_ready: false,
            is_done: false,
            origin: Origin::Ahead(Ahead::start(|hand| self.hand_over(hand))?),
        })
    }

    /// The next block, never empty; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Input`] when reading fails, [`Error::Audio`] past a limit or on damage that no
    /// decoder can get over.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>> {
        let has_block = std::mem::take(&mut self.is_block_ready) || self.fill()?;
        Ok(has_block.then_some(&self.block))
    }

    /// Puts the next block into `block`, whatever was in it before; false at the end.
    ///
    /// # Errors
    /// As [`AudioStream::next_block`].
    pub fn read_block(&mut self, block: &mut Vec<f32>) -> Result<bool> {
        block.clear();
        let next = self.next_block()?;
        block.extend_from_slice(next.unwrap_or_default());
        Ok(next.is_some())
    }

    /// Hands over all of it in pieces of a second, as long as anybody listens.
    fn hand_over(mut self, hand: &Hand<AudioInfo>) -> Result<AudioInfo> {
        let mut piece = Vec::new();
        loop {
            let is_end = match self.next_block()? {
                Some(block) => {
                    piece.extend_from_slice(block);
                    false
                }
                None => true,
            };
            let is_piece = piece.len() >= SAMPLE_RATE || is_end && !piece.is_empty();
            let listens = !is_piece || hand.over(std::mem::take(&mut piece), self.info.clone());
            if is_end || !listens {
                return Ok(self.info);
            }
        }
    }

    /// How it was opened.
    #[must_use]
    pub fn options(&self) -> &AudioOptions {
        &self.options
    }

    /// What is known so far.
    #[must_use]
    pub fn info(&self) -> &AudioInfo {
        &self.info
    }

    /// What is known in the end.
    #[must_use]
    pub fn into_info(self) -> AudioInfo {
        self.info
    }

    /// Everything that is left, at 4 bytes a sample.
    ///
    /// # Errors
    /// As [`AudioStream::next_block`].
    pub fn read_to_end(&mut self) -> Result<Vec<f32>> {
        let mut samples = Vec::new();
        while let Some(block) = self.next_block()? {
            samples.extend_from_slice(block);
        }
        Ok(samples)
    }

    /// Puts the next samples into `block`; false at the end.
    fn fill(&mut self) -> Result<bool> {
        self.block.clear();
        if let Origin::Ahead(ahead) = &self.origin {
            let goes_on = !self.is_done && ahead.fill(&mut self.block, &mut self.info)?;
            self.is_done = !goes_on;
            return Ok(goes_on);
        }
        while self.block.is_empty() && !self.is_done {
            if !self.pull()? {
                self.finish()?;
            }
        }
        self.info.samples += self.block.len();
        match self.options.limits.max_seconds {
            Some(limit_s) if self.info.duration_s() > limit_s => Err(Error::TooLong {
                input: self.info.name.clone(),
                limit_s,
            }),
            _ => Ok(!self.block.is_empty()),
        }
    }

    /// Takes one piece of the origin to 16 kHz mono; false at the end.
    fn pull(&mut self) -> Result<bool> {
        match &mut self.origin {
            Origin::Ahead(_) => Ok(false),
            Origin::Array { data, position } => {
                let data = (**data).as_ref();
                let end = data.len().min(*position + BLOCK_SAMPLES);
                let piece = &data[*position..end];
                *position = end;
                if let Some(format) = &mut self.format {
                    format.convert(piece, &mut self.block);
                }
                Ok(!piece.is_empty())
            }
            Origin::File(container) => {
                let Some(frames) = container.next_frames()? else {
                    return Ok(false);
                };
                let count = frames.channels.count();
                let alone = self.options.channel.filter(|_| count > 1);
                let (samples, channels) = match alone.map(|channel| channel.min(count - 1)) {
                    Some(channel) => {
                        let alone = frames.samples.iter().skip(channel).step_by(count);
                        (alone.copied().collect(), Channels::Discrete(1))
                    }
                    None => (Cow::Borrowed(&*frames.samples), frames.channels.clone()),
                };
                let fits = |f: &Format| f.fits(frames.rate, &channels, frames.depth);
                if !self.format.as_ref().is_some_and(fits) {
                    let next = Format::new(frames.rate, &channels, frames.depth);
                    if let Some(previous) = self.format.replace(next) {
                        previous.finish(&mut self.block);
                    }
                    self.info.sample_rate = frames.rate;
                    self.info.channels = count;
                }
                if let Some(format) = &mut self.format {
                    format.convert(&samples, &mut self.block);
                }
                Ok(true)
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.is_done = true;
        if let Some(format) = self.format.take() {
            format.finish(&mut self.block);
        } else {
            let mut reason = "it holds no audio samples".to_owned();
            if let Origin::File(container) = &self.origin {
                let why = container.warnings(0.0);
                let why = why.first().map(|why| format!(": {why}"));
                reason.push_str(&why.unwrap_or_default());
            }
            return Err(Error::Audio {
                input: self.info.name.clone(),
                reason,
            });
        }
        let heard_s = (self.info.samples + self.block.len()) as f64 / SAMPLE_RATE as f64;
        if let Origin::File(container) = &self.origin {
            self.info.warnings.extend(container.warnings(heard_s));
        }
        Ok(())
    }
}

fn array_format(name: &str, sample_rate: u32) -> Result<Format> {
    if !RATES.contains(&sample_rate) {
        return Err(Error::Audio {
            input: name.to_owned(),
            reason: format!("a sample rate of {sample_rate} Hz makes no sense"),
        });
    }
    Ok(Format::unrounded(sample_rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Limits, open_with};

    const WAV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");

    #[test]
    fn a_stream_that_runs_ahead_gives_the_same() {
        let options = AudioOptions::default();
        let mut plain = open_with(WAV, &options).unwrap();
        let hint = plain.info().duration_hint_s;
        let samples = plain.read_to_end().unwrap();
        let mut ahead = open_with(WAV, &options).unwrap().ahead().unwrap();
        assert_eq!(ahead.info().duration_hint_s, hint);
        assert_eq!(ahead.read_to_end().unwrap(), samples);
        assert!(
            ahead.next_block().unwrap().is_none(),
            "the end stays the end"
        );
        assert_eq!(ahead.into_info(), plain.into_info());
    }

    #[test]
    fn a_long_recording_waits_for_its_listener_and_may_be_left() {
        let length = 16_000 * 200;
        let samples = move || Input::samples(vec![0.25f32; length], 16_000);
        let open = || open_with(samples(), &AudioOptions::default()).unwrap();
        let mut ahead = open().ahead().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(ahead.read_to_end().unwrap().len(), length);
        drop(open().ahead().unwrap());
    }

    #[test]
    fn an_error_arrives_behind_what_was_heard() {
        let limits = Limits {
            max_seconds: Some(3.0),
            ..Limits::default()
        };
        let options = AudioOptions {
            limits,
            ..AudioOptions::default()
        };
        let stream = open_with(vec![0.5f32; 16_000 * 9], &options).unwrap();
        let mut ahead = stream.ahead().unwrap();
        assert!(ahead.next_block().unwrap().is_some());
        let error = ahead.read_to_end().unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }), "{error}");
    }
}
