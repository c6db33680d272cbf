//! Weights of 4 bits: groups of 32 inputs of an output share a scale of half precision,
//! `w = scale × (nibble - 8)`.
//!
//! A group as it comes is what ggml calls a block of `q4_0`: the scale, then 16 bytes, of which byte `i`
//! holds input `i` in its low half and input `i + 16` in its high half. Packing moves whole bytes only:
//! `[panel][group]`, and in it the scales of the panel's 32 outputs, then for each of its two vectors four
//! times 16 words, word `j` of every output's block. A step of the multiplication reads one stream.

use half::f16;

use super::layout::PANEL;
use crate::kernels::Cpu;
use crate::kernels::simd::{LANES, Simd, Task, dispatch};
use crate::kernels::storage::Store;

/// Inputs that share a scale.
pub const GROUP: usize = 32;
/// Bytes of one output's group as it comes: a scale, 32 weights.
pub const BLOCK: usize = 2 + GROUP / 2;
/// Words of 16 vectors of weights, 4 inputs each, in a word of a block.
const WORDS: usize = GROUP / 8;
/// Words of the scales of a panel's group.
pub(super) const SCALES: usize = PANEL / 2;
/// Words of a panel's group.
pub(super) const PANEL_GROUP: usize = SCALES + PANEL * WORDS;

/// Quantises `w` `(n_out, n_in)` to blocks, row by row, the last of a row filled up with zeros: each [`BLOCK`]
/// bytes, an output's one after another.
pub fn quantise(cpu: &Cpu, w: &[f32], n_in: usize) -> Vec<u8> {
    let row = n_in.div_ceil(GROUP) * BLOCK;
    let mut blocks = vec![0; w.len() / n_in * row];
    cpu.pool().run_chunks(&mut blocks, 16 * row, |part, to| {
        let w = &w[part * 16 * n_in..];
        dispatch(cpu.level(), Quantise { w, n_in, to });
    });
    blocks
}

/// Some rows' blocks.
struct Quantise<'a> {
    w: &'a [f32],
    n_in: usize,
    to: &'a mut [u8],
}

impl Task for Quantise<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let row = self.n_in.div_ceil(GROUP) * BLOCK;
        for (w, to) in self.w.chunks(self.n_in).zip(self.to.chunks_exact_mut(row)) {
            for (w, to) in w.chunks(GROUP).zip(to.as_chunks_mut().0) {
                let (low, high) = w.split_at(w.len().min(LANES));
                let w = [s.load_some(low, 0.0), s.load_some(high, 0.0)];
                *to = block(s, w);
            }
        }
    }
}

/// What the scale is tried as, in parts of the number that is furthest from 0: that one becomes -8, or ±7, or
/// is cut off where the others gain more by it.
const TRIED: [f32; 8] = [
    -1.0 / 8.0,
    -0.95 / 8.0,
    -0.9 / 8.0,
    -0.85 / 8.0,
    -0.8 / 8.0,
    1.0 / 7.0,
    0.93 / 7.0,
    0.86 / 7.0,
];

/// One block, with the scale of those tried that has the smallest sum of squared errors.
#[inline(always)]
fn block<S: Simd>(s: S, w: [S::F; 2]) -> [u8; BLOCK] {
    let (low, high) = (s.smallest(s.min(w[0], w[1])), s.largest(s.max(w[0], w[1])));
    let furthest = if -low > high { low } else { high };
    let mut best = (f32::INFINITY, f16::ZERO);
    for part in TRIED {
        let scale = f16::from_f32(furthest * part);
        let error = error(s, w, scale.to_f32());
        if error < best.0 {
            best = (error, scale);
        }
    }
    let scale = best.1.to_f32();
    let mut bytes = [[0; LANES]; 2];
    for (w, bytes) in w.into_iter().zip(&mut bytes) {
        let nibbles = s.round(s.add(steps(s, w, scale), s.splat(8.0)));
        s.store_low_bytes(nibbles, bytes);
    }
    let mut block = [0; BLOCK];
    block[..2].copy_from_slice(&best.1.to_le_bytes());
    for (i, byte) in block[2..].iter_mut().enumerate() {
        *byte = bytes[0][i] | bytes[1][i] << 4;
    }
    block
}

/// The nearest whole steps, from -8 to 7.
#[inline(always)]
fn steps<S: Simd>(s: S, w: S::F, scale: f32) -> S::F {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let x = s.mul(w, s.splat(inverse));
    let x = s.max(s.min(x, s.splat(7.0)), s.splat(-8.0));
    s.float(s.round(x))
}

/// The sum of squared errors.
#[inline(always)]
fn error<S: Simd>(s: S, w: [S::F; 2], scale: f32) -> f32 {
    let mut sum = s.splat(0.0);
    for w in w {
        let error = s.fma(steps(s, w, scale), s.splat(-scale), w);
        sum = s.fma(error, error, sum);
    }
    s.total(sum)
}

/// Lays out the blocks of `(n_out, n_in)`, row by row. Outputs that fill up the last panel have scales of 0.
pub(super) fn pack(cpu: &Cpu, blocks: &[u8], n_out: usize, n_in: usize) -> Store<u32> {
    let groups = n_in.div_ceil(GROUP);
    let size = groups * PANEL_GROUP;
    Store::build(n_out.div_ceil(PANEL) * size, |to| {
        cpu.pool().run_chunks(to, size, |panel, to| {
            let rows = blocks.chunks_exact(groups * BLOCK);
            for (n, row) in rows.skip(panel * PANEL).take(PANEL).enumerate() {
                let to = to.chunks_exact_mut(PANEL_GROUP);
                for (block, to) in row.as_chunks::<BLOCK>().0.iter().zip(to) {
                    place(block, n, to);
                }
            }
        });
    })
}

/// Puts the block of a panel's output `n` into its group.
fn place(block: &[u8; BLOCK], n: usize, to: &mut [u32]) {
    let (scales, words) = to.split_at_mut(SCALES);
    bytemuck::cast_slice_mut::<u32, [u8; 2]>(scales)[n] = [block[0], block[1]];
    let words = &mut words[n / LANES * WORDS * LANES + n % LANES..];
    let bytes = block[2..].as_chunks().0;
    for (word, bytes) in words.iter_mut().step_by(LANES).zip(bytes) {
        *word = u32::from_ne_bytes(*bytes);
    }
}

/// The number of an input's group of a panel's output `n`: input `i` of 32.
#[cfg(test)]
pub(super) fn unpacked(group: &[u32], n: usize, i: usize) -> f32 {
    let scale = f16::from_bits(bytemuck::cast_slice::<u32, u16>(&group[..SCALES])[n]).to_f32();
    let word = group[SCALES + (n / LANES * WORDS + i % LANES / 4) * LANES + n % LANES];
    let byte = word.to_ne_bytes()[i % 4];
    let nibble = if i < LANES { byte & 15 } else { byte >> 4 };
    scale * (f32::from(nibble) - 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::SimdLevel;
    use crate::kernels::linear::tests::numbers;

    #[test]
    fn blocks_are_near_and_the_same_at_every_level() {
        let w = numbers(6 * 70, 3);
        let plain = quantise(&Cpu::new(Some(1), Some(SimdLevel::SCALAR)), &w, 70);
        assert_eq!(plain.len(), 6 * 3 * BLOCK);
        for level in SimdLevel::available() {
            assert_eq!(
                quantise(&Cpu::new(Some(2), Some(level)), &w, 70),
                plain,
                "{level}"
            );
        }
        for (w, row) in w.chunks(70).zip(plain.chunks(3 * BLOCK)) {
            for (w, block) in w.chunks(GROUP).zip(row.as_chunks::<BLOCK>().0) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let furthest = w.iter().fold(0f32, |far, w| far.max(w.abs()));
                for (i, w) in w.iter().enumerate() {
                    let byte = block[2 + i % 16] >> (i / 16 * 4) & 15;
                    let error = (scale * (f32::from(byte) - 8.0) - w).abs();
                    // Half a step, or what was cut off at the end.
                    assert!(
                        error <= 0.21 * furthest,
                        "{w} of {furthest}: off by {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn sixteen_steps_are_kept_as_they_are() {
        let w: Vec<f32> = (0..GROUP)
            .map(|i| ((i % 16) as f32 - 8.0) * 0.375)
            .collect();
        let cpu = Cpu::new(Some(1), None);
        let packed = pack(&cpu, &quantise(&cpu, &w, GROUP), 1, GROUP);
        let back: Vec<f32> = (0..GROUP)
            .map(|i| unpacked(packed.numbers(), 0, i))
            .collect();
        assert_eq!(back, w);
        let zeros = pack(&cpu, &quantise(&cpu, &[0.0; GROUP], GROUP), 1, GROUP);
        assert_eq!(unpacked(zeros.numbers(), 0, 5), 0.0);
    }
}
