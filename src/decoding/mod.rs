//! Decoding of one window: openai/whisper's `DecodingTask` as a state machine of queries and answers.
//!
//! In go the options of one window at one temperature and, step by step, answers; out come the tokens to
//! feed next with what is to be asked of them ([`crate::ranking`]) and, at the end, a [`DecodingResult`].
//! The machine never sees the model, so whoever steps it may put any number of windows into one batch.
//! What stays true: a window's result depends on its own answers, options and seed only.

mod beam;
mod compression;
pub mod fallback;
mod greedy;
mod language;
mod loops;
mod penalties;
mod phrases;
mod ranker;
mod result;
mod rows;
mod rules;
mod sampling;
mod task;
#[cfg(test)]
mod tests;
mod vocabulary;
mod window;

pub use language::LanguageTokens;
pub use loops::loop_in;
pub use phrases::bias;
pub use result::{Alignment, DecodingResult, Drafted, WordTiming, strip};
pub use rows::Step;
pub use task::last_tokens;
pub use window::WindowDecoder;
