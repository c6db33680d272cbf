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
//! # The flow
//!
//! [`transcriber`] is the main path: [`audio`] → [`mel`] → windows by [`longform`] → [`engine`],
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

pub mod attention;
pub mod audio;
#[cfg(feature = "cli")]
pub mod cli;
pub mod decoding;
pub mod dims;
pub mod engine;
pub mod error;
pub mod kernels;
pub mod longform;
pub mod mel;
pub mod model;
pub mod normalize;
pub mod options;
pub mod output;
pub mod tokenizer;
pub mod transcriber;
pub mod transcript;
pub mod weights;

pub use audio::Input;
pub use engine::Cancel;
pub use error::{Error, Result};
pub use model::ComputeType;
pub use options::{DecodingOptions, Gates, Task, TranscribeOptions};
pub use transcriber::{Control, Engine, EngineBuilder, Progress, Segments};
pub use transcript::{Segment, SegmentSink, Transcript, Word};
