//! Packed layers as bytes, for a cache on disk.

use std::ops::Range;

use bytemuck::Pod;

use super::layout::{CHUNK, PANEL};
use super::pack::{PackedLinear, QuantisedWeights, WeightDtype, Weights};
use super::{nibbles, octets};
use crate::kernels::storage::{LINE, Owner, Store, bytes_of};

impl PackedLinear {
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
            Weights::Octets(groups) | Weights::I4(groups) => {
                append(&mut out, bytes_of(groups.numbers()))
            }
        }
        out
    }

    fn kind(&self) -> u64 {
        match self.dtype() {
            WeightDtype::F32 => 0,
            WeightDtype::F16 => 1,
            WeightDtype::I8 => 2,
            WeightDtype::I4 => 3,
            WeightDtype::Octets => 4,
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
            4 => {
                let groups = n_in.div_ceil(octets::GROUP);
                Weights::Octets(rest.take(outputs / PANEL * groups * octets::PANEL_GROUP)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Cpu;
    use crate::kernels::linear::pack::tests::packed;
    use std::sync::Arc;

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
