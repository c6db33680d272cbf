//! One tensor as it lies in its file, and the way from there to f32.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::blocks::Block;

/// The dtype of a stored tensor. All are little-endian, rows one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// 64-bit floats.
    F64,
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// bfloat16: the upper 16 bits of 32-bit floats.
    Bf16,
    /// 8-bit integers, each row with a scale of its own that they are divided by (CTranslate2).
    I8,
    /// One of GGML's blocks of quantized numbers.
    Block(Block),
}

impl Encoding {
    /// Bytes of so many elements, without scales. `None` where that overflows.
    #[must_use]
    pub fn byte_len(self, numbers: usize) -> Option<usize> {
        match self {
            Self::Block(block) => block.byte_len(numbers),
            Self::F64 => numbers.checked_mul(8),
            Self::F32 => numbers.checked_mul(4),
            Self::F16 | Self::Bf16 => numbers.checked_mul(2),
            Self::I8 => Some(numbers),
        }
    }
}

/// A tensor of a checkpoint: a view of the mapped file, where its elements follow one another.
#[derive(Clone, Debug)]
pub struct WeightTensor<'a> {
    shape: Vec<usize>,
    encoding: Encoding,
    bytes: Cow<'a, [u8]>,
    row_scales: Vec<f32>,
}

impl<'a> WeightTensor<'a> {
    /// Bytes and shape must agree; the loaders check that before they call this.
    pub(super) fn new(
        shape: Vec<usize>,
        encoding: Encoding,
        bytes: &'a [u8],
        row_scales: Vec<f32>,
    ) -> Self {
        Self {
            shape,
            encoding,
            bytes: Cow::Borrowed(bytes),
            row_scales,
        }
    }

    /// A tensor that no file holds.
    pub(super) fn of_floats(shape: Vec<usize>, floats: &[f32]) -> Self {
        let bytes = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self {
            shape,
            encoding: Encoding::F32,
            bytes: Cow::Owned(bytes),
            row_scales: Vec::new(),
        }
    }

    /// The same tensor with its numbers one after another. `dims` are the size of each dimension and
    /// how many numbers of `bytes` lie from one to the next along it; the reader has checked that
    /// all are there. Only of encodings that are one number after another.
    pub(super) fn gathered(mut self, dims: &[(usize, usize)]) -> Self {
        let width = self.encoding.byte_len(1).unwrap_or(1);
        let mut starts = vec![0];
        for &(size, stride) in dims {
            let along = |start| (0..size).map(move |i| start + i * stride);
            starts = starts.into_iter().flat_map(along).collect();
        }
        let number = |start: usize| self.bytes.get(start * width..(start + 1) * width);
        let numbers = starts.into_iter().filter_map(number);
        self.bytes = Cow::Owned(numbers.flatten().copied().collect());
        self
    }

    /// A tensor of a source of one's own; none where there are other than as many bytes, or scales of
    /// rows, as the shape asks for.
    #[must_use]
    pub fn checked(
        shape: Vec<usize>,
        encoding: Encoding,
        bytes: &'a [u8],
        row_scales: Vec<f32>,
    ) -> Option<Self> {
        let numbers = shape.iter().copied().try_fold(1, usize::checked_mul)?;
        let scales = match encoding {
            Encoding::I8 => shape.first().copied()?,
            _ => 0,
        };
        let fits = encoding.byte_len(numbers)? == bytes.len() && row_scales.len() == scales;
        fits.then(|| Self::new(shape, encoding, bytes, row_scales))
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the elements are stored, for callers that repack them.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The elements as they are stored: exactly as many bytes as the shape asks for. They need not be
    /// aligned.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For [`Encoding::I8`], what each row is divided by: as many as the first dimension.
    #[must_use]
    pub fn row_scales(&self) -> &[f32] {
        &self.row_scales
    }

    /// How many elements the tensor has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32, rows one after another. Those of 64 bits are rounded.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        decode(self.encoding, &self.bytes, &self.row_scales)
    }

    /// Whether both hold the same numbers.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let stored = |tensor: &Self| (tensor.encoding, tensor.row_scales.clone());
        match stored(self) == stored(other) {
            true => self.bytes == other.bytes,
            false => self.to_f32() == other.to_f32(),
        }
    }
}

fn decode(encoding: Encoding, bytes: &[u8], row_scales: &[f32]) -> Vec<f32> {
    match encoding {
        Encoding::F32 => words(bytes).map(f32::from_le_bytes).collect(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the network computes in f32"
        )]
        Encoding::F64 => words(bytes)
            .map(|word| f64::from_le_bytes(word) as f32)
            .collect(),
        Encoding::F16 => halves(bytes, f16::from_le_bytes, |from, to| {
            from.convert_to_f32_slice(to)
        }),
        Encoding::Bf16 => halves(bytes, bf16::from_le_bytes, |from, to| {
            from.convert_to_f32_slice(to)
        }),
        Encoding::I8 => divided_rows(bytes, row_scales),
        Encoding::Block(block) => block.decode(bytes),
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Converts 16-bit numbers a block at a time: file bytes may be unaligned, and `half` converts
/// aligned slices with the CPU's own instructions.
fn halves<T: Copy + Default>(
    bytes: &[u8],
    read: impl Fn([u8; 2]) -> T,
    convert: impl Fn(&[T], &mut [f32]),
) -> Vec<f32> {
    const BLOCK: usize = 1024;
    let mut out = vec![0.0; bytes.len() / 2];
    let mut block = [T::default(); BLOCK];
    for (from, to) in bytes.chunks(2 * BLOCK).zip(out.chunks_mut(BLOCK)) {
        let block = &mut block[..to.len()];
        for (number, pair) in block.iter_mut().zip(words(from)) {
            *number = read(pair);
        }
        convert(block, to);
    }
    out
}

fn divided_rows(bytes: &[u8], row_scales: &[f32]) -> Vec<f32> {
    let width = bytes.len() / row_scales.len().max(1);
    let rows = bytes.chunks(width.max(1)).zip(row_scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q.cast_signed()) / scale))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(encoding: Encoding, bytes: &[u8], row_scales: Vec<f32>) -> Vec<f32> {
        let len = bytes.len();
        WeightTensor::new(vec![len], encoding, bytes, row_scales).to_f32()
    }

    #[test]
    fn every_half_converts_exactly_at_any_alignment() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let shifted: Vec<u8> = std::iter::once(0).chain(all.iter().copied()).collect();
        for bytes in [&all[..], &shifted[1..]] {
            let got = stored(Encoding::F16, bytes, vec![]);
            let brain = stored(Encoding::Bf16, bytes, vec![]);
            for bits in 0..=u16::MAX {
                let i = usize::from(bits);
                let want = f16::from_bits(bits).to_f32();
                assert!(
                    got[i] == want || want.is_nan() && got[i].is_nan(),
                    "f16 {bits:#x}"
                );
                let want = bf16::from_bits(bits).to_f32();
                assert!(
                    brain[i] == want || want.is_nan() && brain[i].is_nan(),
                    "bf16 {bits:#x}"
                );
            }
        }
    }

    #[test]
    fn shapes_and_numbers_must_agree() {
        let fits = |shape: &[usize], encoding, bytes: &[u8], scales: usize| {
            WeightTensor::checked(shape.to_vec(), encoding, bytes, vec![1.0; scales]).is_some()
        };
        assert!(fits(&[2, 2], Encoding::F16, &[0; 8], 0));
        assert!(!fits(&[2, 2], Encoding::F16, &[0; 7], 0));
        assert!(!fits(&[2, 2], Encoding::F16, &[0; 8], 2));
        assert!(fits(&[2, 2], Encoding::I8, &[0; 4], 2));
        assert!(!fits(&[2, 2], Encoding::I8, &[0; 4], 0));
        assert!(!fits(&[usize::MAX, 2], Encoding::F32, &[], 0));
    }

    #[test]
    fn bytes_are_divided_by_their_row() {
        let bytes = [127, 0x81, 64, 0];
        assert_eq!(
            stored(Encoding::I8, &bytes, vec![127.0, 2.0]),
            [1.0, -1.0, 32.0, 0.0]
        );
    }

    #[test]
    fn scattered_numbers_are_gathered() {
        // Rows of three in memory, seen as columns, and every other of them.
        let bytes: Vec<u8> = (0..12_u8)
            .flat_map(|n| f32::from(n).to_le_bytes())
            .collect();
        let tensor =
            |shape: &[usize]| WeightTensor::new(shape.to_vec(), Encoding::F32, &bytes, vec![]);
        let turned = tensor(&[3, 4]).gathered(&[(3, 1), (4, 3)]).to_f32();
        assert_eq!(turned, [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
        let some = tensor(&[2, 2]).gathered(&[(2, 6), (2, 2)]).to_f32();
        assert_eq!(some, [0., 2., 6., 8.]);
    }

    #[test]
    fn doubles_are_rounded() {
        let bytes: Vec<u8> = [0.1_f64, -2.5]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(stored(Encoding::F64, &bytes, vec![]), [0.1, -2.5]);
    }

    #[test]
    fn floats_are_read_as_they_are() {
        let bytes: Vec<u8> = [1.5_f32, -0.0, f32::MIN]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(stored(Encoding::F32, &bytes, vec![]), [1.5, -0.0, f32::MIN]);
    }
}
