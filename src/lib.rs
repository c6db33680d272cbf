//! A Whisper speech engine: it writes speech down, or translates it into English, on the CPU.
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
//! Progress, cancellation and what was decided about each window:
//!
//! ```no_run
//! use std::sync::Arc;
//! use undertone::{Control, Engine, Segment, TranscribeOptions};
//!
//! # fn main() -> undertone::Result<()> {
//! let engine = Engine::builder().model("tiny.en").build()?;
//! let mut control = Control::default();
//! control.progress = Some(Arc::new(|p| eprintln!("{:.0} of {:.0} s", p.done_s, p.total_s)));
//! let stop = control.cancel.clone(); // stop.cancel() from any thread ends the work
//! let mut sink = |segment: &Segment| {
//!     println!("{}", segment.text);
//!     Ok(())
//! };
//! let options = TranscribeOptions::default();
//! let transcript = engine.run("call.ogg".into(), &options, &mut sink, &control)?;
//! for window in &transcript.windows {
//!     println!("{} frames in, {} attempts", window.seek, window.attempts.len());
//! }
//! # drop(stop);
//! # Ok(())
//! # }
//! ```
//!
//! # What is stable
//!
//! The names at the root of the crate are the public interface: [`Engine`], [`EngineBuilder`],
//! [`Input`], [`TranscribeOptions`] with [`DecodingOptions`], [`Gates`] and [`Task`],
//! [`Control`] with [`Progress`] and [`Cancel`], the results [`Transcript`], [`Segment`], [`Word`],
//! [`WindowTrace`] and [`Attempt`], [`SegmentSink`], [`Segments`], [`ComputeType`], [`Executor`] and [`Error`];
//! beside them [`output`] for files, [`weights::hub`] for models, [`weights::convert`] for their formats
//! and [`attention::AttentionBackend`] for backends of one's own. Results and options read and write
//! themselves with serde. Write option structs with `..Default::default()`: a new option is no
//! breaking change. The other modules are open for tests and tools and may change with any version.
//!
//! # Features
//!
//! All are on by default and only add: `cli` is the program, `hub` finds and fetches models by name
//! (without it a model is a folder or a file), `eval` measures error rates. With
//! `default-features = false` the crate is the engine alone, for embedders.
//!
//! # The flow
//!
//! [`engine`] is the main path: [`audio`] → [`mel`] → windows by [`longform`] → [`batcher`],
//! which steps many windows together through [`decoding`] and [`model`] (on [`attention`] and
//! [`kernels`]) → segments → [`output`]. [`weights`] and [`tokenizer`] are read once, at load.
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

// The README's examples are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What tests compare with and how, shared with those in `tests/`.
#[cfg(test)]
#[path = "../tests/support/comparison.rs"]
mod comparison;

pub mod attention;
pub mod audio;
pub mod batcher;
#[cfg(feature = "cli")]
pub mod cli;
pub mod decoding;
pub mod dims;
pub mod engine;
pub mod error;
#[cfg(feature = "eval")]
pub mod eval;
pub mod kernels;
pub mod longform;
pub mod mel;
pub mod model;
pub mod options;
pub mod output;
pub mod ranking;
pub mod tokenizer;
pub mod transcript;
pub mod weights;

pub use audio::Input;
pub use batcher::Cancel;
pub use decoding::LanguageProbabilities;
pub use engine::{Control, Engine, EngineBuilder, Progress, Segments};
pub use error::{Error, Result};
pub use model::{ComputeType, Description, Executor, StateBytes};
pub use options::{DecodingOptions, Gates, SuppressTokens, Task, TranscribeOptions};
pub use tokenizer::{language_code, language_name};
pub use transcript::{Attempt, Segment, SegmentSink, Transcript, WindowTrace, Word};
