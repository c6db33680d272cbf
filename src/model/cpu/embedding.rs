//! The token embedding, one row a token.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::packed::Recorder;
use crate::kernels::storage::Store;

/// `(n_vocab, width)`, in 16 bits where that loses nothing, as in every published checkpoint. Clones share
/// their memory.
#[derive(Clone)]
pub(super) struct Embedding {
    width: usize,
    rows: Rows,
}

#[derive(Clone)]
enum Rows {
    Halves(Store<u16>),
    Floats(Store<f32>),
}

impl Embedding {
    pub fn new(rows: &[f32], width: usize) -> Self {
        let mut halves = vec![f16::ZERO; rows.len()];
        halves.convert_from_f32_slice(rows);
        let exact = halves.iter().zip(rows).all(|(half, x)| half.to_f32() == *x);
        let rows = if exact {
            let fill = |to: &mut [u16]| {
                to.iter_mut()
                    .zip(&halves)
                    .for_each(|(t, h)| *t = h.to_bits())
            };
            Rows::Halves(Store::build(halves.len(), fill))
        } else {
            Rows::Floats(Store::build(rows.len(), |to| to.copy_from_slice(rows)))
        };
        Self { width, rows }
    }

    pub fn from_halves(halves: Store<u16>, width: usize) -> Self {
        Self {
            width,
            rows: Rows::Halves(halves),
        }
    }

    pub fn from_floats(floats: Store<f32>, width: usize) -> Self {
        Self {
            width,
            rows: Rows::Floats(floats),
        }
    }

    pub fn record(&self, recorder: &mut Recorder) -> std::io::Result<()> {
        match &self.rows {
            Rows::Halves(halves) => recorder.numbers("embedding.f16", halves.numbers()),
            Rows::Floats(floats) => recorder.numbers("embedding.f32", floats.numbers()),
        }
    }

    /// Writes `row(token) + positional` into `out`.
    pub fn add_row(&self, token: u32, positional: &[f32], out: &mut [f32]) {
        let at = token as usize * self.width;
        let range = at..at + self.width;
        match &self.rows {
            Rows::Floats(rows) => add(rows.numbers()[range].iter().copied(), positional, out),
            Rows::Halves(rows) => {
                let row = rows.numbers()[range]
                    .iter()
                    .map(|bits| f16::from_bits(*bits).to_f32());
                add(row, positional, out);
            }
        }
    }
}

fn add(row: impl Iterator<Item = f32>, positional: &[f32], out: &mut [f32]) {
    for ((o, x), p) in out.iter_mut().zip(row).zip(positional) {
        *o = x + p;
    }
}
