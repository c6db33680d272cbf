//! Word times: which stretch of the audio each word was said in, as openai/whisper's `timing.py` finds it.
//!
//! In: a window's text tokens with their probabilities and the weights that cross-attention's alignment heads
//! gave the audio's positions ([`CrossWeights`](crate::model::CrossWeights)). Out: [`Word`](crate::transcript::Word)s on the window's
//! segments, whose own times are drawn to their words. Pure functions of what comes in; where the numbers
//! come from is the batcher's affair.
//!
//! `alignment` finds a path through the weights (dynamic time warping), `split` cuts tokens into words,
//! `words` joins both and merges punctuation, `segments` hands the words out and caps what is implausibly
//! long.

mod alignment;
mod known;
mod segments;
mod split;
#[cfg(test)]
mod tests;
mod words;

pub use alignment::{HeadWeights, closed_text, start_positions};
pub use known::{KnownWord, bare, known_words, same_words};
pub use segments::{Punctuation, add_word_times};
pub use words::find_words;
