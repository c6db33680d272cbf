//! A recording that is transcribed while it is read: part by part, as [`listening`](super::listening) divides it.

use std::sync::mpsc::sync_channel;

use super::listening::{Listener, Part};
use super::over::Hearing;
use super::spoken::{Ground, OnClock};
use super::{Control, Engine, Progress};
use crate::audio::AudioStream;
use crate::dims::{HOP_LENGTH, SAMPLE_RATE};
use crate::error::{Error, Result};
use crate::longform::unused_hotwords;
use crate::options::TranscribeOptions;
use crate::transcript::{SegmentSink, SpeechSpan, Transcript};
use crate::vad::Detector;

/// Parts in sequence are about this long, at most twice. Side by side there is no such bound: each part's end leaves the
/// batch empty for a moment.
const LONG_PART_S: usize = 300;

/// Whether a recording may be transcribed in parts: nothing is asked of it that only the whole recording says.
pub(super) fn may_be_heard_in_parts(options: &TranscribeOptions) -> bool {
    let whole = options.clip_timestamps.iter().all(|s| *s == 0.0);
    let looks = options.vad.is_some() && options.speech.is_none();
    options.guard && looks && whole && !options.multilingual
}

impl Engine {
    /// Transcribes a recording while it is read.
    pub(super) fn run_parts(
        &self,
        stream: AudioStream,
        options: &TranscribeOptions,
        sink: &mut dyn SegmentSink,
        control: &Control,
    ) -> Result<Transcript> {
        let detector = Detector::new(self.0.level)?.lifting_quiet(true);
        let dims = self.network().dims();
        let longest_s = options.batch_size.is_none().then_some(LONG_PART_S);
        let listener = Listener::new(dims.n_mels, detector, longest_s);
        let mut work = Parts {
            engine: self,
            options,
            control,
            sink,
            promised_s: stream.info().duration_hint_s.unwrap_or(0.0),
            hearing: None,
            made: Transcript::default(),
        };
        // Beside the part that is transcribed, one is there or under way.
        let (sender, parts) = sync_channel(0);
        let listen = move || listener.listen(stream, &control.cancel, &sender);
        let info = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("undertone-audio".into());
            let listening = thread.spawn_scoped(scope, listen).map_err(Error::Thread)?;
            let made = parts.into_iter().try_for_each(|part| work.take(part));
            let info = listening.join();
            made?;
            info.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let mut warnings = info.warnings;
        warnings.extend(unused_hotwords(&self.0.tokenizer, options, dims.n_text_ctx));
        Ok(Transcript {
            warnings,
            ..work.made
        })
    }
}

/// What is known of a recording whose parts come one after the other.
struct Parts<'a> {
    engine: &'a Engine,
    options: &'a TranscribeOptions,
    control: &'a Control,
    sink: &'a mut dyn SegmentSink,
    /// Seconds of audio by the recording's headers.
    promised_s: f64,
    /// From the first part on that has speech.
    hearing: Option<Hearing<'a>>,
    made: Transcript,
}

impl Parts<'_> {
    /// Transcribes the next part.
    fn take(&mut self, part: Part) -> Result<()> {
        let (at, samples) = (part.at_frames * HOP_LENGTH, part.heard.samples);
        let (at_s, end_s) = (seconds(at), seconds(at + samples));
        let total_s = match part.is_last {
            true => end_s,
            false => end_s.max(self.promised_s),
        };
        let mut options = self.options.clone();
        let ground = Ground::new(part.mel, samples, Some(&part.heard), &mut options)?;
        let clock = ground.clock_from(part.at_frames);
        add_speech(&mut self.made, ground.speech.as_deref(), at_s);
        self.made.duration_s = end_s;
        if part.is_last {
            self.sink.heard(end_s, self.made.speech.as_deref())?;
        }
        let report = |done_s| {
            if let Some(progress) = &self.control.progress {
                progress(Progress { done_s, total_s });
            }
        };
        report(at_s);
        let is_spoken = ground.content.spoken(0..ground.content.frames).is_some();
        if self.hearing.is_none() && (is_spoken || part.is_last) {
            let (engine, control) = (self.engine, self.control);
            let hearing = Hearing::new(engine, &ground, options, self.sink, control)?;
            self.hearing = Some(hearing);
        }
        if let Some(hearing) = &mut self.hearing {
            let mut sink = OnClock {
                clock: &clock,
                sink: self.sink,
            };
            let mut on_clock = |done_s| report(clock.start(done_s));
            let part = hearing.part(&ground, &mut sink, &mut on_clock)?;
            add(&mut self.made, sink.all(part));
        }
        report(end_s);
        Ok(())
    }
}

/// Adds what a part says.
fn add(made: &mut Transcript, part: Transcript) {
    made.text += &part.text;
    made.segments.extend(part.segments);
    made.dropped.extend(part.dropped);
    made.windows.extend(part.windows);
    made.language = part.language;
}

/// Adds a part's spans of speech; one that goes on from the part before is one with that.
fn add_speech(made: &mut Transcript, part: Option<&[SpeechSpan]>, at_s: f64) {
    let speech = made.speech.get_or_insert_default();
    for span in part.unwrap_or_default() {
        let (start, end) = (span.start + at_s, span.end + at_s);
        match speech.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => speech.push(SpeechSpan { start, end }),
        }
    }
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / SAMPLE_RATE as f64
}
