//! Weights of a linear layer, laid out once for the way the kernels read them.
//!
//! Outputs are grouped in *panels* of 32; inside a panel, what one step of the multiplication needs
//! lies side by side: `[panel][input][32 outputs]` for floats, `[panel][input / 4][32 outputs][4]` for
//! bytes; for 4 bits see [`nibbles`]. Inputs are padded with zeros to a multiple of 16 (32 for 4 bits), outputs to whole panels. The layout is the
//! same for every SIMD level.

use std::ops::Range;

use bytemuck::Pod;
use half::f16;

use super::layout::{CHUNK, PANEL};
use super::nibbles;
use crate::kernels::Cpu;
use crate::kernels::storage::{LINE, Owner, Store, bytes_of};

/// Inputs whose byte products are summed in one operation.
const QUAD: usize = 4;

/// How weights are stored; sums are in f32, or exact integers for [`WeightDtype::I8`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// Single precision.
    F32,
    /// Half precision, widened when used: the results of [`WeightDtype::F32`] to the bit, as it is only
    /// chosen where every weight is a half-precision number. Half the memory traffic.
    F16,
    /// Signed bytes with a scale per output; inputs are quantised row by row when used.
    I8,
    /// 4 bits, with a half-precision scale for every 32 inputs of an output; inputs are quantised to signed
    /// bytes in the same groups when used. Sums within a group are exact integers.
    I4,
}

/// A matrix `(n_out, n_in)` and a bias, packed for [`linear`](super::linear). Clones share their memory.
#[derive(Clone)]
pub struct PackedLinear {
    n_in: usize,
    n_out: usize,
    /// One per output, padded; zeros where the layer has none.
    pub(super) bias: Store<f32>,
    pub(super) weights: Weights,
}

#[derive(Clone)]
pub(super) enum Weights {
    F32(Store<f32>),
    F16(Store<u16>),
    I8(QuantisedWeights),
    I4(Store<u32>),
}

/// Quantised weights: `w = scale × byte`.
#[derive(Clone)]
pub(super) struct QuantisedWeights {
    pub(super) bytes: Store<i8>,
    /// One per output, padded.
    pub(super) scales: Store<f32>,
    /// Per output the sum of its bytes, padded: what a zero point in the inputs adds up to.
    pub(super) sums: Store<i32>,
}

impl PackedLinear {
    /// Packs `w` `(n_out, n_in)`, row by row; as half precision where that loses nothing.
    ///
    /// # Panics
    /// If `w` or `bias` has another size.
    pub fn pack_f32(
        cpu: &Cpu,
        w: &[f32],
        n_out: usize,
        n_in: usize,
        bias: Option<&[f32]>,
    ) -> PackedLinear {
        check_sizes(w, n_out, n_in, bias);
        let weights = if all_halves(cpu, w) {
            Weights::F16(pack_floats(cpu, w, n_in, |w| f16::from_f32(w).to_bits()))
        } else {
            Weights::F32(pack_floats(cpu, w, n_in, |w| w))
        };
        PackedLinear::new(n_out, n_in, bias, weights)
    }

    /// Quantises `w` `(n_out, n_in)` to bytes with a scale per output, and packs it.
    ///
    /// # Panics
    /// If `w` or `bias` has another size.
    pub fn pack_i8(
        cpu: &Cpu,
        w: &[f32],
        n_out: usize,
        n_in: usize,
        bias: Option<&[f32]>,
    ) -> PackedLinear {
        check_sizes(w, n_out, n_in, bias);
        let weights = Weights::I8(pack_bytes(cpu, w, n_out, n_in));
        PackedLinear::new(n_out, n_in, bias, weights)
    }

    /// As [`PackedLinear::pack_blocks`], quantised here.
    #[cfg(test)]
    pub fn pack_i4(
        cpu: &Cpu,
        w: &[f32],
        n_out: usize,
        n_in: usize,
        bias: Option<&[f32]>,
    ) -> PackedLinear {
        check_sizes(w, n_out, n_in, bias);
        let blocks = nibbles::quantise(cpu, w, n_in);
        PackedLinear::pack_blocks(cpu, &blocks, n_out, n_in, bias)
    }

    /// Packs weights that are quantised already: `n_in ÷ 32` blocks of [`BLOCK`](nibbles::BLOCK) bytes an
    /// output. Nothing is rounded.
    ///
    /// # Panics
    /// If `blocks` or `bias` has another size.
    pub fn pack_blocks(
        cpu: &Cpu,
        blocks: &[u8],
        n_out: usize,
        n_in: usize,
        bias: Option<&[f32]>,
    ) -> PackedLinear {
        let size = n_out * n_in.div_ceil(nibbles::GROUP) * nibbles::BLOCK;
        assert_eq!(blocks.len(), size, "blocks are (n_out, n_in / 32)");
        let weights = Weights::I4(nibbles::pack(cpu, blocks, n_out, n_in));
        PackedLinear::new(n_out, n_in, bias, weights)
    }

    fn new(n_out: usize, n_in: usize, bias: Option<&[f32]>, weights: Weights) -> PackedLinear {
        let bias = Store::build(n_out.next_multiple_of(PANEL), |to| {
            if let Some(bias) = bias {
                to[..n_out].copy_from_slice(bias);
            }
        });
        PackedLinear {
            n_in,
            n_out,
            bias,
            weights,
        }
    }

    /// Whether both read their weights from the same memory.
    #[cfg(test)]
    pub fn shares(&self, other: &Self) -> bool {
        self.bias.numbers().as_ptr() == other.bias.numbers().as_ptr()
    }

    /// Inputs.
    pub fn n_in(&self) -> usize {
        self.n_in
    }

    /// Outputs.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// How the weights are stored.
    pub fn dtype(&self) -> WeightDtype {
        match self.weights {
            Weights::F32(_) => WeightDtype::F32,
            Weights::F16(_) => WeightDtype::F16,
            Weights::I8(_) => WeightDtype::I8,
            Weights::I4(_) => WeightDtype::I4,
        }
    }

    /// Inputs, padded.
    pub(super) fn k(&self) -> usize {
        match self.weights {
            Weights::I4(_) => self.n_in.next_multiple_of(nibbles::GROUP),
            _ => self.n_in.next_multiple_of(CHUNK),
        }
    }

    pub(super) fn panels(&self) -> usize {
        self.n_out.div_ceil(PANEL)
    }

    /// The packed form for a cache on disk; [`PackedLinear::from_bytes`] reads it back. Lengths are
    /// multiples of 64, so that layers written one after another stay aligned.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let fields = [self.kind(), self.n_in as u64, self.n_out as u64].map(u64::to_le_bytes);
        append(&mut out, fields.as_flattened());
        append(&mut out, bytes_of(self.bias.numbers()));
        match &self.weights {
            Weights::F32(floats) => append(&mut out, bytes_of(floats.numbers())),
            Weights::F16(halves) => append(&mut out, bytes_of(halves.numbers())),
            Weights::I8(quantised) => {
                append(&mut out, bytes_of(quantised.bytes.numbers()));
                append(&mut out, bytes_of(quantised.scales.numbers()));
                append(&mut out, bytes_of(quantised.sums.numbers()));
            }
            Weights::I4(groups) => append(&mut out, bytes_of(groups.numbers())),
        }
        out
    }

    fn kind(&self) -> u64 {
        match self.dtype() {
            WeightDtype::F32 => 0,
            WeightDtype::F16 => 1,
            WeightDtype::I8 => 2,
            WeightDtype::I4 => 3,
        }
    }

    /// Reads what [`PackedLinear::to_bytes`] wrote, from `range` of what `owner` holds; the weights stay
    /// there. An unknown version, a size that does not fit or a cut-off end is an error.
    pub fn from_bytes(owner: &Owner, range: Range<usize>) -> Result<PackedLinear, String> {
        let bytes = (**owner).as_ref();
        let header = bytes
            .get(range.clone())
            .and_then(|part| part.first_chunk::<LINE>());
        let header = header.ok_or("the packed weights have no header")?;
        let fields = header
            .strip_prefix(MAGIC)
            .ok_or("not packed weights of this version")?;
        let field = |i: usize| u64::from_le_bytes(fields.as_chunks().0[i]);
        let size = |i| {
            usize::try_from(field(i))
                .ok()
                .filter(|size| (1..1 << 24).contains(size))
        };
        let (Some(n_in), Some(n_out)) = (size(1), size(2)) else {
            return Err("the packed weights have an impossible size".into());
        };
        let mut rest = Sections {
            owner,
            at: range.start + LINE,
            end: range.end,
        };
        let outputs = n_out.next_multiple_of(PANEL);
        let count = outputs * n_in.next_multiple_of(CHUNK);
        let bias = rest.take(outputs)?;
        let weights = match field(0) {
            0 => Weights::F32(rest.take(count)?),
            1 => Weights::F16(rest.take(count)?),
            2 => Weights::I8(QuantisedWeights {
                bytes: rest.take(count)?,
                scales: rest.take(outputs)?,
                sums: rest.take(outputs)?,
            }),
            3 => {
                let groups = n_in.div_ceil(nibbles::GROUP);
                Weights::I4(rest.take(outputs / PANEL * groups * nibbles::PANEL_GROUP)?)
            }
            kind => return Err(format!("packed weights of unknown kind {kind}")),
        };
        Ok(PackedLinear {
            n_in,
            n_out,
            bias,
            weights,
        })
    }

    /// The weights `(n_out, n_in)` as the kernels see them, quantised ones scaled back.
    #[cfg(test)]
    pub fn unpacked(&self) -> Vec<f32> {
        let (k, n_in) = (self.k(), self.n_in);
        let at = |n: usize, i: usize| {
            let float = (n / PANEL * k + i) * PANEL + n % PANEL;
            let byte = (n / PANEL * k + i / QUAD * QUAD) * PANEL + n % PANEL * QUAD + i % QUAD;
            match &self.weights {
                Weights::F32(floats) => floats.numbers()[float],
                Weights::F16(halves) => f16::from_bits(halves.numbers()[float]).to_f32(),
                Weights::I4(groups) => {
                    let group = n / PANEL * self.k() / nibbles::GROUP + i / nibbles::GROUP;
                    let group = &groups.numbers()[group * nibbles::PANEL_GROUP..];
                    nibbles::unpacked(group, n % PANEL, i % nibbles::GROUP)
                }
                Weights::I8(q) => f32::from(q.bytes.numbers()[byte]) * q.scales.numbers()[n],
            }
        };
        (0..self.n_out * n_in)
            .map(|index| at(index / n_in, index % n_in))
            .collect()
    }
}

/// Opens every packed layer; the last two digits are the layout's version.
const MAGIC: &[u8; 16] = b"undertone-lin-01";

/// The parts of a packed layer after its header, each starting on a cache line.
struct Sections<'a> {
    owner: &'a Owner,
    at: usize,
    end: usize,
}

impl Sections<'_> {
    fn take<T: Pod>(&mut self, count: usize) -> Result<Store<T>, String> {
        let len = count
            .checked_mul(size_of::<T>())
            .ok_or("the packed weights are too large")?;
        let end = self.at.checked_add(len).filter(|&end| end <= self.end);
        let range = self.at..end.ok_or("the packed weights are cut short")?;
        self.at = range.end.next_multiple_of(LINE);
        Store::lent(self.owner, range)
    }
}

/// Appends a part and fills up its last cache line.
fn append(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(part);
    out.resize(out.len().next_multiple_of(LINE), 0);
}

fn check_sizes(w: &[f32], n_out: usize, n_in: usize, bias: Option<&[f32]>) {
    assert_eq!(w.len(), n_out * n_in, "weights are (n_out, n_in)");
    assert!(n_out > 0 && n_in > 0, "a layer has inputs and outputs");
    assert!(
        bias.is_none_or(|bias| bias.len() == n_out),
        "one bias per output"
    );
}

/// Whether every weight is a half-precision number.
fn all_halves(cpu: &Cpu, w: &[f32]) -> bool {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    const PART: usize = 1 << 16;
    let all = AtomicBool::new(true);
    cpu.pool().run(w.len().div_ceil(PART), |part| {
        let part = &w[part * PART..w.len().min((part + 1) * PART)];
        if all.load(Relaxed) && !part.iter().all(|&w| f16::from_f32(w).to_f32() == w) {
            all.store(false, Relaxed);
        }
    });
    all.into_inner()
}

fn pack_floats<T: Pod + Send>(
    cpu: &Cpu,
    w: &[f32],
    n_in: usize,
    convert: impl Fn(f32) -> T + Sync,
) -> Store<T> {
    let (n_out, k) = (w.len() / n_in, n_in.next_multiple_of(CHUNK));
    Store::build(n_out.next_multiple_of(PANEL) * k, |to| {
        cpu.pool().run_chunks(to, k * PANEL, |panel, to| {
            let rows = w.chunks_exact(n_in).skip(panel * PANEL).take(PANEL);
            for (n, row) in rows.enumerate() {
                for (step, &w) in to.chunks_exact_mut(PANEL).zip(row) {
                    step[n] = convert(w);
                }
            }
        });
    })
}

fn pack_bytes(cpu: &Cpu, w: &[f32], n_out: usize, n_in: usize) -> QuantisedWeights {
    let (outputs, k) = (n_out.next_multiple_of(PANEL), n_in.next_multiple_of(CHUNK));
    let scales = Store::build(outputs, |to| {
        cpu.pool().run_chunks(&mut to[..n_out], 64, |part, to| {
            for (scale, row) in to.iter_mut().zip(w.chunks_exact(n_in).skip(part * 64)) {
                *scale = row.iter().fold(0f32, |max, w| max.max(w.abs())) / 127.0;
            }
        });
    });
    let per_output = scales.numbers();
    let bytes = Store::build(outputs * k, |to| {
        cpu.pool().run_chunks(to, k * PANEL, |panel, to| {
            let rows = w
                .chunks_exact(n_in)
                .zip(per_output)
                .skip(panel * PANEL)
                .take(PANEL);
            for (n, (row, &scale)) in rows.enumerate() {
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                for (step, quad) in to.chunks_exact_mut(QUAD * PANEL).zip(row.chunks(QUAD)) {
                    for (byte, w) in step[n * QUAD..].iter_mut().zip(quad) {
                        *byte = (w * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                    }
                }
            }
        });
    });
    let sums = Store::build(outputs, |to| sum_bytes(bytes.numbers(), k, to));
    QuantisedWeights {
        bytes,
        scales,
        sums,
    }
}

fn sum_bytes(bytes: &[i8], k: usize, sums: &mut [i32]) {
    for (panel, sums) in bytes
        .chunks_exact(k * PANEL)
        .zip(sums.chunks_exact_mut(PANEL))
    {
        for step in panel.chunks_exact(QUAD * PANEL) {
            for (sum, quad) in sums.iter_mut().zip(step.as_chunks::<QUAD>().0) {
                *sum += quad.iter().map(|&byte| i32::from(byte)).sum::<i32>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn weights(count: usize, exact_halves: bool) -> Vec<f32> {
        let float = |i: usize| ((i * 7919 % 2003) as f32 - 1001.0) / 1024.0;
        (0..count)
            .map(|i| {
                if exact_halves {
                    float(i)
                } else {
                    float(i) * 1.1
                }
            })
            .collect()
    }

    fn packed(cpu: &Cpu) -> Vec<(PackedLinear, Vec<f32>)> {
        let (n_out, n_in) = (45, 37);
        let (halves, floats) = (weights(n_out * n_in, true), weights(n_out * n_in, false));
        let bias = weights(n_out, false);
        vec![
            (
                PackedLinear::pack_f32(cpu, &floats, n_out, n_in, Some(&bias)),
                floats.clone(),
            ),
            (
                PackedLinear::pack_f32(cpu, &halves, n_out, n_in, None),
                halves,
            ),
            (
                PackedLinear::pack_i8(cpu, &floats, n_out, n_in, Some(&bias)),
                floats.clone(),
            ),
            (
                PackedLinear::pack_i4(cpu, &floats, n_out, n_in, Some(&bias)),
                floats,
            ),
        ]
    }

    #[test]
    fn packing_keeps_the_weights_and_picks_halves_only_where_exact() {
        let all = packed(&Cpu::new(Some(2), None));
        let dtypes: Vec<_> = all.iter().map(|(layer, _)| layer.dtype()).collect();
        assert_eq!(
            dtypes,
            [
                WeightDtype::F32,
                WeightDtype::F16,
                WeightDtype::I8,
                WeightDtype::I4
            ]
        );
        assert_eq!(all[0].0.unpacked(), all[0].1);
        assert_eq!(all[1].0.unpacked(), all[1].1);
        for (row, back) in all[2].1.chunks(37).zip(all[2].0.unpacked().chunks(37)) {
            let half_step = row.iter().fold(0f32, |max, w| max.max(w.abs())) / 254.0;
            let near = |(w, b): (&f32, &f32)| (w - b).abs() <= half_step * 1.001;
            assert!(row.iter().zip(back).all(near), "{row:?} became {back:?}");
        }
    }

    #[test]
    fn bytes_round_trip_and_damage_is_an_error() {
        for (layer, _) in packed(&Cpu::new(Some(1), None)) {
            let bytes = layer.to_bytes();
            assert_eq!(bytes.len() % LINE, 0);
            let owner = |bytes: &[u8]| -> Owner { Arc::new(bytes.to_vec()) };
            let whole = PackedLinear::from_bytes(&owner(&bytes), 0..bytes.len()).unwrap();
            assert_eq!(whole.unpacked(), layer.unpacked());
            assert_eq!(whole.bias.numbers(), layer.bias.numbers());
            assert_eq!((whole.n_in(), whole.n_out()), (37, 45));
            for cut in [0, 40, 64, 200, bytes.len() - 64] {
                assert!(
                    PackedLinear::from_bytes(&owner(&bytes), 0..cut).is_err(),
                    "cut at {cut}"
                );
            }
            assert!(PackedLinear::from_bytes(&owner(&bytes), 64..bytes.len() + 64).is_err());
            for (at, value) in [(0, 0), (15, b'2'), (16, 9), (31, 1), (24, 0), (39, 255)] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let read = PackedLinear::from_bytes(&owner(&bad), 0..bad.len());
                assert!(read.is_err(), "byte {at} = {value}");
            }
        }
    }
}
