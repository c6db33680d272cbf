//! A Whisper speech engine: it writes speech down, or translates it into English, on the CPU or a GPU.
//!
//! ```no_run
//! use undertone::{Engine, TranscribeOptions};
//!
//! # fn main() -> undertone::Result<()> {
//! let engine = Engine::builder().model("base").build()?;
//! let transcript = engine.transcribe("interview.mp3", &TranscribeOptions::default())?;
//! println!("{}", transcript.text);
//! for segment in engine.segments("lecture.flac", &TranscribeOptions::default()) {
//!     let segment = segment?;
//!     println!("{:.2} {}", segment.start, segment.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine`] says the rest: samples of one's own, segments as they come, progress, cancelling, async
//! programs, threads, memory, precision, languages and errors.
//!
//! # What is stable
//!
//! Everything on these pages is the public interface:
//!
//! | what | where |
//! | --- | --- |
//! | loading and running | [`Engine`], [`EngineBuilder`], [`ComputeType`], [`Executor`], [`Control`] |
//! | what goes in | [`Input`], [`TranscribeOptions`] with [`DecodingOptions`], [`Sampling`], [`Gates`], [`TrackChoice`], [`Gaps`], [`VadOptions`] and [`Limits`] |
//! | what comes out | [`Transcript`], [`Segment`], [`Word`], [`WindowTrace`], [`SpeechSpan`], [`Dropped`], [`Error`] |
//! | files of results | [`output`] |
//! | models by name, formats, conversion, `VarBuilder` | [`weights`], [`weights::hub`] |
//! | attention backends of one's own, and vLLM's rules | [`attention`] |
//! | error rates | `eval` |
//!
//! The guides of the repository, how it is built and why, what was measured, how backends are chosen and
//! how to add one, are pages here as well: the module `guides`.
//!
//! Results and options read and write themselves with serde. Write option structs with
//! `..Default::default()`: a new option is no breaking change. What the documentation does not show,
//! the module `internals` above all, serves this crate's own tests and tools.
//!
//! # Features
//!
//! All are on by default and only add: `cli` is the program, `hub` finds and fetches models by name
//! (without it a model is a folder or a file), `eval` measures error rates, `gpu` looks for NVIDIA's driver and AMD's. With
//! `default-features = false` the crate is the engine alone, for embedders.
//!
//! # The flow
//!
//! `engine` is the main path: `audio` → `mel` → windows by `longform` → `batcher`, which steps many
//! windows together through `decoding` and `model` (on [`attention`] and `kernels`) → segments →
//! [`output`]. [`weights`] and `tokenizer` are read once, at load.
//!
//! # Glossary
//!
//! | word | means |
//! | --- | --- |
//! | sample | 1/16000 s of audio |
//! | frame | one mel column, 10 ms |
//! | position | one encoder output vector, 20 ms; also one timestamp step |
//! | window | 30 s of mel with its own options: the unit of work |
//! | segment | text with a start and an end |
//! | row | one window or beam in a decoder step |
//! | step | one pass of the decoder over all rows |

#![cfg_attr(
    not(all(feature = "cli", feature = "hub", feature = "eval", feature = "server")),
    allow(
        dead_code,
        unused_imports,
        reason = "the whole program is what shows that nothing is needless"
    )
)]

// The README's examples are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guides of the repository's `src/docs`.
#[cfg(doc)]
pub mod guides {
    #[doc = include_str!("docs/adding-a-backend.md")]
    pub mod adding_a_backend {}
    #[doc = include_str!("docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("docs/attention.md")]
    pub mod attention {}
    #[doc = include_str!("docs/attention-selection.md")]
    pub mod attention_selection {}
    #[doc = include_str!("docs/audio.md")]
    pub mod audio {}
    #[doc = include_str!("docs/gpu.md")]
    pub mod gpu {}
    #[doc = include_str!("docs/kernels.md")]
    pub mod kernels {}
    #[doc = include_str!("docs/phrases.md")]
    pub mod phrases {}
    #[doc = include_str!("docs/speech.md")]
    pub mod speech {}
    #[doc = include_str!("docs/speculative.md")]
    pub mod speculative {}
    #[doc = include_str!("docs/testing.md")]
    pub mod testing {}
    #[doc = include_str!("docs/words.md")]
    pub mod words {}
}

/// What tests compare with and how, shared with those in `tests/`.
#[cfg(test)]
#[path = "../tests/support/comparison.rs"]
mod comparison;

pub mod attention;
mod audio;
mod batcher;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod decoding;
mod device;
mod dims;
mod engine;
mod error;
#[cfg(feature = "eval")]
pub mod eval;
#[doc(hidden)]
pub mod internals;
mod kernels;
mod longform;
mod mel;
mod model;
mod options;
pub mod output;
mod ranking;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
mod timing;
mod tokenizer;
mod transcript;
mod vad;
pub mod weights;

pub use audio::{Gaps, Input, Limits, TrackChoice};
pub use batcher::Cancel;
pub use device::DeviceChoice;
pub use dims::ModelDimensions;
pub use engine::{
    Control, Engine, EngineBuilder, Progress, Segments, ct2_extras, ggml_extras, transformers_files,
};
pub use error::{Error, Result};
pub use kernels::SimdLevel;
pub use model::{ComputeType, Description, Executor, StateBytes};
pub use options::{
    AlignmentHeads, DecodingOptions, Gates, Phrase, Sampling, SuppressTokens, Task,
    TranscribeOptions, read_phrases,
};
pub use tokenizer::{language_code, language_name};
pub use transcript::{
    Attempt, Drafted, DropReason, Dropped, LanguageProbabilities, Segment, SegmentSink, SpeechSpan,
    Transcript, WindowTrace, Word,
};
pub use vad::{VadMode, VadOptions};
