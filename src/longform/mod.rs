//! Whole recordings: which windows are decoded, with which prompt, and which segments they give.
//!
//! In go the number of mel frames and something that decodes a window; out come segments as their
//! windows close, and the transcript. `sequential` is openai/whisper's way, each window beginning
//! where the last one's segments ended; `batched` cuts at quiet places beforehand and decodes the
//! stretches side by side. What stays true: nothing here sees samples, mel or logits.

mod batched;
mod clips;
mod content;
mod coverage;
mod cuts;
mod guards;
mod pauses;
mod phantoms;
mod prompt;
mod recording;
mod segments;
mod sequential;
mod speech;
#[cfg(test)]
mod tests;
mod trace;
mod words;

pub use batched::transcribe_batched;
pub use clips::{clips_past_the_end, seek_clips};
pub use content::{Content, LanguageRun};
pub use pauses::Pauses;
pub use prompt::unused_hotwords;
pub use recording::{DecodeWindows, Recording, WindowRequest};
pub use sequential::transcribe_sequential;
pub use speech::{Clock, Speech, samples_of, seconds_of};
pub use words::words_of;
