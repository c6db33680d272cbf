//! Whole recordings: which windows are decoded, with which prompt, and which segments they give.
//!
//! In go the number of mel frames and something that decodes a window; out come segments as their
//! windows close, and the transcript. What stays true: nothing here sees samples, mel or logits.

mod clips;
mod prompt;
mod segments;
mod sequential;
#[cfg(test)]
mod tests;

pub use clips::seek_clips;
pub use prompt::History;
pub use segments::{WindowSegments, WindowSpan, clear_empty, segments_from_tokens};
pub use sequential::{DecodeWindow, WindowRequest, transcribe_sequential};
