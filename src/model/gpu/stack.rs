//! What an executor on a card is made of, whatever its numbers are: an encoder, a decoder, and their memory.

use super::tables::{Keep, Tables};
use crate::device::{Address, Card};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::model::EncoderStages;

/// Where the pools are, and how many places they have.
#[derive(Clone, Copy)]
pub(super) struct Pools {
    pub audio: Address,
    pub windows: usize,
    pub text: Address,
    pub rows: usize,
}

/// The network's arithmetic on a card. One call at a time.
pub(super) trait Stack: Send {
    /// Encodes a window of log-mel, `(n_mels, frames)`, into a place of the audio pool. The card may still be
    /// computing when this returns.
    fn encode(&self, mel: &[f32], slot: usize) -> Result<()>;

    /// The encoder's stages.
    fn stages(&self, mel: &[f32]) -> Result<EncoderStages>;

    /// Runs rows through the decoder; the logits of those asked about, `(asked, n_vocab)` in 32-bit floats, are then
    /// at [`logits`](Self::logits).
    fn forward(&self, tables: &Tables, kept: &[Keep]) -> Result<()>;

    /// Where the logits are.
    fn logits(&self) -> Address;

    /// A head's softmax over a window's keys, `(tokens, positions)` at `to`, of the queries that a text has kept of
    /// the head's layer from `queries` on: row `rows[i]` is token `i`'s.
    fn cross_weights(&self, call: &Watched<'_>) -> Result<()>;
}

/// A head whose weights on a window are wanted.
pub(super) struct Watched<'a> {
    pub layer: usize,
    pub head: usize,
    pub slot: usize,
    pub positions: usize,
    pub queries: Address,
    pub rows: &'a [i32],
    pub to: Address,
}

/// Reads 32-bit floats.
pub(super) fn read(card: &Card, from: Address, floats: usize) -> Result<Vec<f32>> {
    let mut numbers = vec![0.0_f32; floats];
    if floats > 0 {
        let bytes = bytemuck::cast_slice_mut(&mut numbers);
        card.driver().read(from, bytes)?;
    }
    Ok(numbers)
}

/// Positions that a window of log-mel is encoded into.
pub(super) fn positions(dims: &ModelDimensions, mel: &[f32]) -> usize {
    mel.len() / dims.n_mels / crate::dims::INPUT_STRIDE
}
