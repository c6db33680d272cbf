//! From probabilities to spans of speech: what faster-whisper's `get_speech_timestamps` gives.
//!
//! Speech begins with a chunk at the threshold, and ends where a pause begins that is long enough. A span that grows
//! too long ends at its last short pause, or where it is. Spans are widened in the end; what lies between two
//! that come too near is shared.

use std::ops::Range;

use super::detector::Heard;
use super::{CHUNK, VadOptions};
use crate::dims::SAMPLE_RATE;

/// A pause longer than this is where a span that is too long may end, in samples (98 ms).
const SHORT_PAUSE: usize = SAMPLE_RATE * 98 / 1000;

/// The spans of speech, in samples, in order. None touches another, except where one was cut for its length.
#[must_use]
pub fn speech_spans(heard: &Heard, options: &VadOptions) -> Vec<Range<usize>> {
    let mut spans = Walk::new(heard.samples, options).through(&heard.probabilities);
    widen(&mut spans, samples(options.speech_pad_ms), heard.samples);
    spans
}

fn samples(ms: u32) -> usize {
    SAMPLE_RATE / 1000 * ms as usize
}

/// A pause inside a span, after which speech may have gone on.
struct Pause {
    start: usize,
    resumed: Option<usize>,
}

/// The way through the chunks.
struct Walk<'a> {
    options: &'a VadOptions,
    end: usize,
    longest: f64,
    spans: Vec<Range<usize>>,
    /// Where the span begins that is open.
    open: Option<usize>,
    /// Since when it is silent in it.
    quiet: Option<usize>,
    /// The last short pause in it.
    pause: Option<Pause>,
}

impl<'a> Walk<'a> {
    fn new(end: usize, options: &'a VadOptions) -> Self {
        let longest = options.max_speech_duration_s.unwrap_or(f64::INFINITY);
        let around = CHUNK + 2 * samples(options.speech_pad_ms);
        Self {
            options,
            end,
            longest: longest * SAMPLE_RATE as f64 - around as f64,
            spans: Vec::new(),
            open: None,
            quiet: None,
            pause: None,
        }
    }

    fn through(mut self, probabilities: &[f32]) -> Vec<Range<usize>> {
        for (chunk, &probability) in probabilities.iter().enumerate() {
            self.step(chunk * CHUNK, f64::from(probability));
        }
        if let Some(start) = self.open
            && self.is_long_enough(start, self.end)
        {
            self.spans.push(start..self.end);
        }
        self.spans
    }

    fn step(&mut self, at: usize, probability: f64) {
        let speech = probability >= self.options.threshold;
        if speech && self.quiet.take().is_some() {
            // The first chunk of speech behind the last short pause.
            if let Some(pause) = &mut self.pause {
                pause.resumed.get_or_insert(at);
            }
        }
        let Some(start) = self.open else {
            self.open = speech.then_some(at);
            return;
        };
        if (at - start) as f64 > self.longest {
            self.cut(start, at);
        }
        if let Some(start) = self.open
            && probability < self.options.silence_below()
        {
            self.silence(start, at);
        }
    }

    /// A span that has grown too long.
    fn cut(&mut self, start: usize, at: usize) {
        let pause = self.pause.take();
        let end = pause.as_ref().map_or(at, |pause| pause.start);
        self.spans.push(start..end);
        self.open = pause.and_then(|pause| pause.resumed);
        self.quiet = None;
    }

    fn silence(&mut self, start: usize, at: usize) {
        let quiet = *self.quiet.get_or_insert(at);
        if at - quiet > SHORT_PAUSE {
            self.pause = Some(Pause {
                start: quiet,
                resumed: None,
            });
        }
        if at - quiet >= samples(self.options.min_silence_duration_ms) {
            if self.is_long_enough(start, quiet) {
                self.spans.push(start..quiet);
            }
            (self.open, self.quiet, self.pause) = (None, None, None);
        }
    }

    fn is_long_enough(&self, start: usize, end: usize) -> bool {
        end.saturating_sub(start) > samples(self.options.min_speech_duration_ms)
    }
}

/// Adds `pad` samples at both ends of each span; between two that are nearer than twice that, each gets half of
/// what is there.
fn widen(spans: &mut [Range<usize>], pad: usize, end: usize) {
    if let Some(first) = spans.first_mut() {
        first.start = first.start.saturating_sub(pad);
    }
    for i in 0..spans.len() {
        let next = spans.get(i + 1).map(|next| next.start);
        let between = next.map(|next| next - spans[i].end);
        let share = between.map_or(pad, |between| pad.min(between / 2));
        spans[i].end = (spans[i].end + share).min(end);
        if let Some(next) = spans.get_mut(i + 1) {
            next.start -= share;
        }
    }
}
