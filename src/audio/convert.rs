//! Interleaved frames at one rate and layout to 16 kHz mono on the 16-bit grid.
//!
//! ffmpeg takes one of three ways, and so does this. 16-bit integers stay integers all along, each
//! channel resampled before the fold. Wider ones that are 16 kHz mono already lose their low bits.
//! All else is floating point and is rounded at the end, halves to even.

use symphonia::core::audio::Channels;

use super::codec::Depth;
use super::downmix::Downmix;
use super::resample::{Resampler, Sample};
use crate::dims::SAMPLE_RATE;

const FULL_SCALE: f32 = 32_768.0;

/// The conversion of frames of one rate and layout.
pub(super) struct Format {
    rate: u32,
    channels: Channels,
    depth: Depth,
    downmix: Downmix,
    way: Way,
}

enum Way {
    /// One pipe for each channel.
    Integer(Vec<Pipe<i16>>),
    Float(Pipe<f32>, Rounding),
}

/// The samples of one channel on their way through the resampler, if one is needed.
struct Pipe<S> {
    resampler: Option<Resampler<S>>,
    taken: Vec<S>,
    done: Vec<S>,
}

#[derive(Clone, Copy)]
enum Rounding {
    Off,
    HalfToEven,
    Down,
}

impl Format {
    /// The conversion as ffmpeg does it for samples of this depth.
    pub(super) fn new(rate: u32, channels: &Channels, depth: Depth) -> Self {
        let is_16_khz_mono = rate as usize == SAMPLE_RATE && channels.count() == 1;
        let way = match depth {
            Depth::Narrow => Way::Integer((0..channels.count()).map(|_| Pipe::new(rate)).collect()),
            Depth::Wide if is_16_khz_mono => Way::Float(Pipe::new(rate), Rounding::Down),
            Depth::Wide | Depth::Float => Way::Float(Pipe::new(rate), Rounding::HalfToEven),
        };
        Self {
            rate,
            channels: channels.clone(),
            depth,
            downmix: Downmix::new(channels),
            way,
        }
    }

    /// The conversion of a caller's mono samples, which are not rounded.
    pub(super) fn unrounded(rate: u32) -> Self {
        let channels = Channels::Discrete(1);
        let way = Way::Float(Pipe::new(rate), Rounding::Off);
        Self {
            rate,
            downmix: Downmix::new(&channels),
            channels,
            depth: Depth::Float,
            way,
        }
    }

    /// Whether frames of this rate, layout and depth are what it converts.
    pub(super) fn fits(&self, rate: u32, channels: &Channels, depth: Depth) -> bool {
        self.rate == rate && self.channels == *channels && self.depth == depth
    }

    /// Appends to `out` what `frames` complete.
    pub(super) fn convert(&mut self, frames: &[f32], out: &mut Vec<f32>) {
        match &mut self.way {
            Way::Integer(pipes) => {
                let stride = pipes.len();
                for (channel, pipe) in pipes.iter_mut().enumerate() {
                    let samples = frames.iter().skip(channel).step_by(stride);
                    pipe.taken.extend(samples.map(|&x| (x * FULL_SCALE) as i16));
                    pipe.pass();
                }
                fold(&self.downmix, pipes, out);
            }
            Way::Float(pipe, rounding) => {
                self.downmix.fold(frames, &mut pipe.taken);
                pipe.pass();
                out.extend(pipe.done.iter().map(|&x| rounding.of(x)));
            }
        }
    }

    /// Appends to `out` what is left at the end.
    pub(super) fn finish(self, out: &mut Vec<f32>) {
        match self.way {
            Way::Integer(mut pipes) => {
                pipes.iter_mut().for_each(Pipe::finish);
                fold(&self.downmix, &pipes, out);
            }
            Way::Float(mut pipe, rounding) => {
                pipe.finish();
                out.extend(pipe.done.iter().map(|&x| rounding.of(x)));
            }
        }
    }
}

fn fold(downmix: &Downmix, pipes: &[Pipe<i16>], out: &mut Vec<f32>) {
    let planes: Vec<&[i16]> = pipes.iter().map(|pipe| pipe.done.as_slice()).collect();
    downmix.fold_planes(&planes, |x| out.push(f32::from(x) / FULL_SCALE));
}

impl<S: Sample> Pipe<S> {
    fn new(rate: u32) -> Self {
        let resampler = (rate as usize != SAMPLE_RATE).then(|| Resampler::new(rate));
        Self {
            resampler,
            taken: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Leaves in `done` the 16 kHz samples that those in `taken` complete.
    fn pass(&mut self) {
        self.done.clear();
        match &mut self.resampler {
            Some(resampler) => resampler.push(&self.taken, &mut self.done),
            None => std::mem::swap(&mut self.taken, &mut self.done),
        }
        self.taken.clear();
    }

    /// Leaves in `done` what comes after the last sample.
    fn finish(&mut self) {
        self.done.clear();
        if let Some(resampler) = self.resampler.take() {
            resampler.finish(&mut self.done);
        }
    }
}

impl Rounding {
    fn of(self, x: f32) -> f32 {
        /// Adding and taking away 1.5 · 2²³ leaves an integer, halves rounded to even.
        const SHIFT: f32 = 12_582_912.0;
        let x = if x.is_finite() { x } else { 0.0 };
        let scaled = (x * FULL_SCALE).clamp(-FULL_SCALE, FULL_SCALE - 1.0);
        match self {
            Self::Off => x,
            Self::HalfToEven => ((scaled + SHIFT) - SHIFT) / FULL_SCALE,
            Self::Down => scaled.floor() / FULL_SCALE,
        }
    }
}
