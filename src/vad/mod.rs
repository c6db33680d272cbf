//! Where a recording has speech: Silero's voice activity model, and the rules that make spans of what it
//! says.
//!
//! In: 16 kHz mono samples, in pieces of any length. Out: a probability of speech for each chunk of 512
//! samples (32 ms), and spans, in samples. What stays
//! true: however the samples are cut into pieces, the result is the same to the bit, and apart from the
//! probabilities, four bytes a chunk, memory does not grow with the recording.

mod detector;
mod lstm;
mod network;
mod options;
mod rules;
#[cfg(test)]
mod tests;

pub use detector::{Detector, Heard};
pub use options::{VadMode, VadOptions};
pub use rules::speech_spans;

/// Samples of a chunk: each has one probability.
pub const CHUNK: usize = 512;
