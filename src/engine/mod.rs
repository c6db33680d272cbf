//! The main path: load once, then audio → mel → windows → segments → sink. Read this first.

mod adapted;
mod align;
mod builder;
mod channels;
mod client;
mod control;
mod extras;
mod journal;
mod languages;
mod listening;
mod over;
mod packed;
mod parts;
mod segments;
mod spoken;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attention::Plan;
use crate::audio::{self, AudioInfo, AudioStream, Input};
use crate::batcher::{
    AlignWay, AlignWords, Batcher, Cancel, Capacity, Counts, WatchedHeads, WindowJob,
};
use crate::dims::{FRAMES_PER_SECOND, ModelDimensions, N_FRAMES, N_SAMPLES};
use crate::error::{Error, Result};
use crate::kernels::SimdLevel;
use crate::longform::{clips_past_the_end, unused_hotwords};
use crate::mel::{self, LogMel};
use crate::model::{Description, Network};
use crate::options::{AlignmentHeads, DecodingOptions, Gates, Task, TranscribeOptions};
use crate::tokenizer::{Tokenizer, is_auto, language_code};
use crate::transcript::{LanguageProbabilities, Segment, SegmentSink, Transcript};
use crate::vad::{Detector, Heard};
use crate::weights::hub::{self, ModelFiles};

pub use builder::{EngineBuilder, load_tokenizer};
pub use control::{Control, Progress};
pub use extras::{ct2_extras, ggml_extras, transformers_files};
pub use packed::packed_copies;
pub use segments::Segments;
use spoken::{Ground, OnClock};

#[doc = include_str!("../docs/library.md")]
#[derive(Clone)]
pub struct Engine(Arc<Loaded>);

struct Loaded {
    name: String,
    files: ModelFiles,
    /// One a device, at least one: all the same.
    networks: Vec<Arc<dyn Network>>,
    /// Writes ahead of the network, where there is one.
    draft: Option<Arc<dyn Network>>,
    plan: Plan,
    tokenizer: Arc<Tokenizer>,
    batcher: Batcher,
    capacity: Capacity,
    /// Of the weights.
    fingerprint: String,
    /// Whether this is a model under an adapter.
    adapted: bool,
    any_task: bool,
    sources: AtomicU64,
    /// What is odd about the model's files.
    warnings: Vec<String>,
    /// What is to be said of where the network is computed.
    device_note: Option<String>,
    alignment_heads: WatchedHeads,
    /// What looks for speech computes at this level.
    level: Option<SimdLevel>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.0.name)
            .field("description", &self.describe())
            .finish_non_exhaustive()
    }
}

/// The first windows of 30 s of the audio, as many as the language may be told from.
fn first_windows(input: Input, options: &TranscribeOptions) -> Result<Vec<f32>> {
    let most = N_SAMPLES.saturating_mul(options.language_detection_segments.max(1));
    let mut stream = audio::open_with(input, &options.audio())?;
    let mut samples = Vec::new();
    while samples.len() < most
        && let Some(block) = stream.next_block()?
    {
        samples.extend_from_slice(block);
    }
    samples.truncate(most);
    Ok(samples)
}

/// Whether a model was trained to translate: as the catalogue says, else as it says of the models
/// with these sizes, else if it knows other languages than English.
fn translates(files: &ModelFiles, dims: &ModelDimensions) -> bool {
    if let Some(entry) = files.entry {
        return entry.translates;
    }
    let mut alike = hub::catalog()
        .iter()
        .filter(|entry| entry.dims() == *dims)
        .peekable();
    dims.is_multilingual() && (alike.peek().is_none() || alike.any(|entry| entry.translates))
}

impl Engine {
    /// Starts from the defaults: model `base`, 32-bit floats, every core.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Writes the speech down in its own language (or as `options` say).
    ///
    /// # Errors
    /// - [`Error::Input`], [`Error::Audio`] and [`Error::Codec`]: what cannot be read or decoded;
    /// - [`Error::Option`]: an option whose value makes no sense;
    /// - [`Error::ModelCannot`]: a language or a task that the model was not trained for;
    /// - [`Error::Engine`] and [`Error::Tensor`]: a defect of this crate or of a custom backend.
    pub fn transcribe(
        &self,
        input: impl Into<Input>,
        options: &TranscribeOptions,
    ) -> Result<Transcript> {
        self.run(
            input.into(),
            options,
            &mut |_: &Segment| Ok(()),
            &Control::default(),
        )
    }

    /// Writes the speech down in English.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); and [`Error::ModelCannot`] for a model that was not
    /// trained to translate.
    pub fn translate(
        &self,
        input: impl Into<Input>,
        options: &TranscribeOptions,
    ) -> Result<Transcript> {
        let mut options = options.clone();
        options.decoding.task = Task::Translate;
        self.transcribe(input, &options)
    }

    /// The segments one by one, as their windows close, from a thread of their own. Dropping the
    /// iterator stops the work; [`Segments::finish`] gives the whole transcript.
    ///
    /// Errors of [`run`](Self::run) come as the iterator's last item.
    pub fn segments(&self, input: impl Into<Input>, options: &TranscribeOptions) -> Segments {
        self.segments_with(input, options, &Control::default())
    }

    /// [`segments`](Self::segments) with progress and cancellation.
    pub fn segments_with(
        &self,
        input: impl Into<Input>,
        options: &TranscribeOptions,
        control: &Control,
    ) -> Segments {
        Segments::start(self.clone(), input.into(), options.clone(), control)
    }

    /// The main path, with segments handed to `sink` as their windows close.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe), what the sink returns, and [`Error::Cancelled`].
    pub fn run(
        &self,
        input: Input,
        options: &TranscribeOptions,
        sink: &mut dyn SegmentSink,
        control: &Control,
    ) -> Result<Transcript> {
        let options = self.check(options)?;
        if options.split_channels {
            return self.run_channels(input, &options, sink, control);
        }
        let stream = control.open(input, &options)?;
        self.run_stream(stream, options, sink, control)
    }

    /// [`run`](Self::run) on a recording that is open already, whose channels are not heard one by one, with options
    /// that are checked.
    pub(crate) fn run_stream(
        &self,
        stream: AudioStream,
        mut options: TranscribeOptions,
        sink: &mut dyn SegmentSink,
        control: &Control,
    ) -> Result<Transcript> {
        if parts::may_be_heard_in_parts(&options) {
            return self.run_parts(stream, &options, sink, control);
        }
        let (mel, heard, listened) = self.log_mel(stream, &options, control)?;
        let duration_s = heard.duration_s();
        let mut warnings = heard.warnings;
        let content_frames = mel.content_frames();
        warnings.extend(clips_past_the_end(&options.clip_timestamps, content_frames));
        let n_text_ctx = self.network().dims().n_text_ctx;
        warnings.extend(unused_hotwords(&self.0.tokenizer, &options, n_text_ctx));
        let total_s = content_frames as f64 / FRAMES_PER_SECOND as f64;
        let report = |done_s| {
            if let Some(progress) = &control.progress {
                progress(Progress { done_s, total_s });
            }
        };
        report(0.0);
        let ground = Ground::new(mel, heard.samples, listened.as_ref(), &mut options)?;
        sink.heard(duration_s, ground.speech.as_deref())?;
        let transcript = match &ground.clock {
            None => self.over(&ground, options, sink, &mut { report }, control),
            Some(clock) => {
                let mut sink = OnClock { clock, sink };
                let mut report = |done_s| report(clock.start(done_s));
                let made = self.over(&ground, options, &mut sink, &mut report, control);
                made.map(|transcript| sink.all(transcript))
            }
        }?;
        if ground.speech.is_some() {
            report(total_s);
        }
        Ok(Transcript {
            duration_s,
            warnings,
            speech: ground.speech,
            ..transcript
        })
    }

    /// What [`run`](Self::run) makes of the options, before any work: every value in its bounds, the
    /// task one that the model was trained for, and the language by the code that the model's
    /// vocabulary has a token for (`None` where it is to be detected).
    ///
    /// # Errors
    /// [`Error::Option`] naming the option, [`Error::ModelCannot`] for the task.
    pub fn check(&self, options: &TranscribeOptions) -> Result<TranscribeOptions> {
        options.validate()?;
        self.check_task(options.decoding.task)?;
        self.align_words(&options.alignment_heads)?;
        let mut options = options.clone();
        let named = options.decoding.language.take();
        let named = named.filter(|language| !is_auto(language));
        options.decoding.language = match named {
            Some(language) => Some(self.known_language(&language)?.to_owned()),
            None => None,
        };
        for language in &mut options.languages {
            *language = self.known_language(language)?.to_owned();
        }
        if options.multilingual && !self.0.tokenizer.is_multilingual() {
            return Err(self.cannot("knows only English, so there is nothing to tell apart"));
        }
        Ok(options)
    }

    fn known_language(&self, language: &str) -> Result<&'static str> {
        let code = language_code(language)?;
        let tokenizer = &self.0.tokenizer;
        let known = match tokenizer.is_multilingual() {
            true => tokenizer.language_token(code).is_some(),
            false => code == "en",
        };
        if known {
            return Ok(code);
        }
        let languages = match tokenizer.is_multilingual() {
            true => format!("{} languages", tokenizer.languages().len()),
            false => "English alone".into(),
        };
        Err(Error::Option {
            option: "language",
            reason: format!(
                "{} has no token for {code}; it knows {languages}",
                self.0.name
            ),
        })
    }

    /// What is odd about the model's files but hindered nothing, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Where the network is computed, if that was left to the machine and it has a GPU.
    #[must_use]
    pub fn device_note(&self) -> Option<&str> {
        self.0.device_note.as_deref()
    }

    /// Every language's probability, from the first 30 s of the audio.
    ///
    /// # Errors
    /// Input that cannot be read or decoded; [`Error::ModelCannot`] for a model that knows only
    /// English.
    pub fn detect_language(&self, input: impl Into<Input>) -> Result<LanguageProbabilities> {
        self.detect_language_with(input, &TranscribeOptions::default())
    }

    /// [`detect_language`](Self::detect_language) as these options say: of which track, with which gaps, which
    /// languages may be, and from how many windows of 30 s they are told.
    ///
    /// # Errors
    /// As [`detect_language`](Self::detect_language).
    pub fn detect_language_with(
        &self,
        input: impl Into<Input>,
        options: &TranscribeOptions,
    ) -> Result<LanguageProbabilities> {
        if !self.0.tokenizer.is_multilingual() {
            return Err(self.cannot("knows only English, so there is nothing to detect"));
        }
        let samples = first_windows(input.into(), options)?;
        let source = self.next_source();
        let begins = (0..samples.len().max(1)).step_by(N_SAMPLES);
        let windows = begins.map(|begin| {
            self.0.batcher.detect_language(WindowJob {
                mel: mel::log_mel_of_clip(&samples[begin..], self.network().dims().n_mels)?,
                options: DecodingOptions::default(),
                gates: Gates::default(),
                source,
                cancel: Cancel::default(),
                align: None,
                bias: None,
            })
        });
        languages::surest(windows, options)
    }

    /// A queue and a worker of the caller's own over the same model, for windows of its own making.
    /// For tools of this crate.
    ///
    /// # Errors
    /// [`Error::Thread`] where the system refuses a thread.
    #[doc(hidden)]
    pub fn batcher(&self, capacity: Capacity) -> Result<Batcher> {
        let draft = self.0.draft.clone();
        Batcher::new(&self.0.networks, draft, self.0.tokenizer.clone(), capacity)
    }

    /// What the engine's worker has done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.0.batcher.counts()
    }

    /// Whether the engine's worker still works. One that has stopped answers every request with
    /// [`Error::Engine`].
    pub(crate) fn is_working(&self) -> bool {
        self.0.batcher.is_working()
    }

    /// Ends the engine's worker, as a defect would.
    #[cfg(test)]
    pub(crate) fn stop_working(&self) {
        self.0.batcher.stop_working();
    }

    /// What computes, in what precision, and what a window costs while it is decoded.
    #[must_use]
    pub fn describe(&self) -> Description {
        let mut described = self.network().describe();
        for other in &self.0.networks[1..] {
            described.device = format!("{}; {}", described.device, other.describe().device);
        }
        described
    }

    /// The codes of the languages that the model knows, in the order of its vocabulary.
    #[must_use]
    pub fn languages(&self) -> Vec<&'static str> {
        match self.0.tokenizer.languages() {
            [] => vec!["en"],
            known => known.iter().map(|(code, _)| *code).collect(),
        }
    }

    /// Whether the model was trained to translate into English.
    #[must_use]
    pub fn can_translate(&self) -> bool {
        translates(&self.0.files, self.network().dims())
    }

    /// The tokens of a text, for [`DecodingOptions::prompt`] and [`DecodingOptions::prefix`]. What
    /// looks like a special token is ordinary text here.
    #[must_use]
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        self.0.tokenizer.encode(text)
    }

    /// The text of tokens, such as those of a [`Segment`]; timestamps are left out.
    #[must_use]
    pub fn decode_tokens(&self, tokens: &[u32]) -> String {
        self.0.tokenizer.decode(tokens)
    }

    /// The model's name as it was asked for.
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.0.name
    }

    /// The model's files and where they came from.
    #[must_use]
    pub fn files(&self) -> &ModelFiles {
        &self.0.files
    }

    /// The network, on the first device where there are several. For tools of this crate.
    #[doc(hidden)]
    #[must_use]
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.0.networks[0]
    }

    /// The attention backend of each role, and why it was chosen.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The tokenizer, for tools of this crate.
    #[doc(hidden)]
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// The spectrogram, what is known of the recording, and what was heard in it where speech is looked for.
    fn log_mel(
        &self,
        mut stream: AudioStream,
        options: &TranscribeOptions,
        control: &Control,
    ) -> Result<(LogMel, AudioInfo, Option<Heard>)> {
        let looks = options.vad.is_some() || options.multilingual;
        let mut detector = match options.speech {
            None if looks => Some(Detector::new(self.0.level)?.lifting_quiet(options.guard)),
            _ => None,
        };
        let cancel = &control.cancel;
        let n_mels = self.network().dims().n_mels;
        let next_block = |block: &mut Vec<f32>| match cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => {
                let is_block = stream.read_block(block)?;
                if let Some(detector) = &mut detector {
                    detector.push(block);
                }
                Ok(is_block)
            }
        };
        let mel = mel::from_blocks(n_mels, next_block, |_| {})?;
        Ok((mel, stream.into_info(), detector.map(Detector::finish)))
    }

    fn check_task(&self, task: Task) -> Result<()> {
        if task == Task::Transcribe || self.0.any_task || self.can_translate() {
            return Ok(());
        }
        let able = hub::catalog().iter().filter(|entry| entry.translates);
        let able = able
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        Err(self.cannot(&format!(
            "was not trained to translate; models that can: {able}"
        )))
    }

    fn cannot(&self, reason: &str) -> Error {
        Error::ModelCannot {
            model: self.0.name.clone(),
            reason: reason.into(),
        }
    }

    /// How words are timed.
    fn align_words(&self, heads: &AlignmentHeads) -> Result<AlignWords> {
        Ok(AlignWords {
            heads: heads.of(&self.0.alignment_heads, self.network().dims())?,
            positions: N_FRAMES / 2,
            way: AlignWay::Again,
        })
    }

    /// A number for whoever sends windows to the batcher: sources take turns there.
    fn next_source(&self) -> u64 {
        self.0.sources.fetch_add(1, Ordering::Relaxed)
    }
}
