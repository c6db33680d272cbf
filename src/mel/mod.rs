//! From 16 kHz mono samples to the log-mel spectrogram that Whisper was trained on.
//!
//! In: blocks of samples. Out: a [`LogMel`] that hands out windows of `(n_mels, 3000)`. The values
//! are those of openai/whisper's `log_mel_spectrogram` with the 30 s of zeros that `transcribe()`
//! appends; however the samples are cut into blocks, the result is the same to the bit.

mod extract;
mod filterbank;
mod log_mel;
mod stft;
mod store;

#[cfg(test)]
mod tests;

pub use extract::{MelExtractor, from_blocks, log_mel_of_clip};
pub use filterbank::mel_filterbank;
pub use log_mel::LogMel;
