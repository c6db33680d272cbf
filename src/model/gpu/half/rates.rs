//! What a card does at its best: how fast it gives memory, and how fast its tensor cores multiply.

use bytemuck::Zeroable as _;

use super::kernels::{After, EncGemm, Half, SWEEPERS};
use crate::device::Address;
use crate::error::Result;
use crate::model::CardRates;
use crate::model::gpu::stack::repeated;

/// The most memory that is read.
const MOST: usize = 2 << 30;
/// Rows, outputs and columns of the product.
const SIDE: usize = 8192;
const DEEP: usize = 2048;

/// Reads `bytes` at `memory` once, and multiplies half floats by the encoder's kernel, as often as it takes to know.
pub(super) fn rates(half: &Half, memory: Address, bytes: usize) -> Result<CardRates> {
    let (card, bytes) = (half.card(), bytes.min(MOST));
    let found = card.memory(4 * 8 * SWEEPERS)?;
    let read = repeated(card, &mut || {
        half.sweep(memory, found.address(), bytes / 16)
    })?;
    Ok(CardRates {
        memory: bytes as f64 / read,
        tensor: (2 * SIDE * SIDE * DEEP) as f64 / product(half)?,
    })
}

/// Seconds of a large product. Its numbers are random: zeros take less power, and so less time.
fn product(half: &Half) -> Result<f64> {
    let card = half.card();
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 - 0.5
    };
    let numbers: Vec<f32> = (0..SIDE * DEEP).map(|_| random()).collect();
    let numbers = super::halved(card, half, &numbers)?;
    let out = card.memory(2 * SIDE * SIDE)?;
    let gemm = EncGemm {
        a: numbers.address(),
        w: numbers.address(),
        out: out.address(),
        residual: out.address(),
        a_row: DEEP as u64,
        out_row: SIDE as u64,
        rows: SIDE as u32,
        n: SIDE as u32,
        k: DEEP as u32,
        ..EncGemm::zeroed()
    };
    repeated(card, &mut || half.enc_gemm(After::Nothing, &gemm, 1))
}
