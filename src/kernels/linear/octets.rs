//! Weights of 8 bits for layers that wait for memory: groups of 64 inputs of an output share a scale of half
//! precision, `w = scale × (byte - 128)`.
//!
//! `[panel][group]`, and in it the scales of the panel's 32 outputs, then for each of its two vectors sixteen
//! times 16 words of four inputs. A step of the multiplication reads one stream.

use half::f16;

use super::layout::PANEL;
use crate::kernels::Cpu;
use crate::kernels::simd::LANES;
use crate::kernels::storage::Store;

/// Inputs that share a scale.
pub(super) const GROUP: usize = 64;
/// Words of the scales of a panel's group.
pub(super) const SCALES: usize = PANEL / 2;
/// Words of an output's group.
pub(super) const WORDS: usize = GROUP / 4;
/// Words of a panel's group.
pub(super) const PANEL_GROUP: usize = SCALES + PANEL * WORDS;
/// A weight of 0.
const ZERO: f32 = 128.0;

/// Quantises `w` `(n_out, n_in)` and lays it out. What fills up the last group of a row, or the last panel, counts as 0.
pub(super) fn pack(cpu: &Cpu, w: &[f32], n_in: usize) -> Store<u32> {
    let size = n_in.div_ceil(GROUP) * PANEL_GROUP;
    let panels = (w.len() / n_in).div_ceil(PANEL);
    Store::build(panels * size, |to| {
        cpu.pool().run_chunks(to, size, |panel, to| {
            let rows = w.chunks_exact(n_in).skip(panel * PANEL).take(PANEL);
            for (n, row) in rows.enumerate() {
                let groups = row.chunks(GROUP).zip(to.chunks_exact_mut(PANEL_GROUP));
                groups.for_each(|(w, to)| place(w, n, to));
            }
        });
    })
}

/// Quantises a panel's output `n` in one group: the number furthest from 0 becomes ±127.
fn place(w: &[f32], n: usize, to: &mut [u32]) {
    let furthest = w.iter().fold(0f32, |far, w| far.max(w.abs()));
    let scale = f16::from_f32(furthest / 127.0);
    let inverse = match scale.to_f32() {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    let (scales, words) = to.split_at_mut(SCALES);
    bytemuck::cast_slice_mut::<u32, u16>(scales)[n] = scale.to_bits();
    let words = words[n / LANES * WORDS * LANES + n % LANES..].iter_mut();
    for (word, w) in words.step_by(LANES).zip(w.chunks(4)) {
        let mut bytes = [ZERO as u8; 4];
        for (byte, w) in bytes.iter_mut().zip(w) {
            // Rounding the scale down may put the furthest a little beyond.
            let steps = (w * inverse).round_ties_even().clamp(-127.0, 127.0);
            *byte = (steps + ZERO) as u8;
        }
        *word = u32::from_le_bytes(bytes);
    }
}

/// The number of an input's group of a panel's output `n`: input `i` of 64.
#[cfg(test)]
pub(super) fn unpacked(group: &[u32], n: usize, i: usize) -> f32 {
    let scale = f16::from_bits(bytemuck::cast_slice::<u32, u16>(&group[..SCALES])[n]).to_f32();
    let word = group[SCALES + (n / LANES * WORDS + i / 4) * LANES + n % LANES];
    scale * (f32::from(word.to_le_bytes()[i % 4]) - ZERO)
}
