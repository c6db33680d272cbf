//! Rows of the token embedding.

use super::level::SimdLevel;
use super::simd::{LANES, Simd, Task, dispatch};

/// A row of an embedding, as it is stored.
#[derive(Clone, Copy)]
pub enum Row<'a> {
    /// Single precision.
    Floats(&'a [f32]),
    /// Half precision, as bits.
    Halves(&'a [u16]),
}

/// Writes `row + positional` to `out`; all have the same width.
///
/// # Panics
/// If they have not.
pub fn add_position(level: SimdLevel, row: Row, positional: &[f32], out: &mut [f32]) {
    let width = match row {
        Row::Floats(row) => row.len(),
        Row::Halves(row) => row.len(),
    };
    assert!(
        width == out.len() && positional.len() == out.len(),
        "rows of one width"
    );
    dispatch(
        level,
        AddPosition {
            row,
            positional,
            out,
        },
    );
}

struct AddPosition<'a> {
    row: Row<'a>,
    positional: &'a [f32],
    out: &'a mut [f32],
}

impl Task for AddPosition<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let chunks = self
            .positional
            .chunks(LANES)
            .zip(self.out.chunks_mut(LANES));
        for (i, (positional, out)) in chunks.enumerate() {
            let range = i * LANES..i * LANES + out.len();
            let x = match self.row {
                Row::Floats(row) => s.load_some(&row[range], 0.0),
                Row::Halves(row) => {
                    let mut halves = [0; LANES];
                    halves[..out.len()].copy_from_slice(&row[range]);
                    s.load_f16(&halves)
                }
            };
            s.store_some(s.add(x, s.load_some(positional, 0.0)), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn both_forms_add_the_position() {
        for width in [1, 16, 37] {
            let halves: Vec<f16> = (0..width).map(|i| f16::from_f32(i as f32 / 7.0)).collect();
            let bits: Vec<u16> = halves.iter().map(|h| h.to_bits()).collect();
            let floats: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
            let positional: Vec<f32> = (0..width).map(|i| i as f32 * 0.1).collect();
            let expected: Vec<f32> = floats.iter().zip(&positional).map(|(x, p)| x + p).collect();
            for level in SimdLevel::available() {
                for row in [Row::Floats(&floats), Row::Halves(&bits)] {
                    let mut out = vec![f32::NAN; width];
                    add_position(level, row, &positional, &mut out);
                    assert_eq!(out, expected, "{level}, width {width}");
                }
            }
        }
    }
}
