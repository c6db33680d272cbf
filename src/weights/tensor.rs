//! One tensor as it lies in its file, and the way from there to f32.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::blocks::Block;

/// The dtype of a stored tensor. All are little-endian, rows one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
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
            Self::F32 => numbers.checked_mul(4),
            Self::F16 | Self::Bf16 => numbers.checked_mul(2),
            Self::I8 => Some(numbers),
        }
    }
}

/// A tensor of a checkpoint: a view of the mapped file, or values computed at load.
#[derive(Clone, Debug)]
pub struct WeightTensor<'a> {
    shape: Vec<usize>,
    data: WeightData<'a>,
}

/// The elements of a [`WeightTensor`].
#[derive(Clone, Debug)]
pub enum WeightData<'a> {
    /// Bytes of the file. They need not be aligned.
    Stored {
        /// What the bytes mean.
        encoding: Encoding,
        /// Exactly as many as the shape asks for.
        bytes: &'a [u8],
        /// For [`Encoding::I8`], what each row is divided by: as many as the first dimension.
        row_scales: Vec<f32>,
    },
    /// Values that no file holds (the encoder's sinusoids).
    Computed(Vec<f32>),
}

impl<'a> WeightTensor<'a> {
    /// Bytes and shape must agree; the loaders check that before they call this.
    pub(super) fn new(shape: Vec<usize>, data: WeightData<'a>) -> Self {
        Self { shape, data }
    }

    /// A tensor of a source of one's own; `None` where the elements or the scales of rows are not as
    /// many as the shape asks for.
    #[must_use]
    pub fn checked(shape: Vec<usize>, data: WeightData<'a>) -> Option<Self> {
        let numbers = shape
            .iter()
            .try_fold(1usize, |all, n| all.checked_mul(*n))?;
        let fits = match &data {
            WeightData::Computed(computed) => computed.len() == numbers,
            WeightData::Stored {
                encoding,
                bytes,
                row_scales,
            } => {
                let scales = match encoding {
                    Encoding::I8 => shape.first().copied()?,
                    _ => 0,
                };
                encoding.byte_len(numbers) == Some(bytes.len()) && row_scales.len() == scales
            }
        };
        fits.then(|| Self::new(shape, data))
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements as they are stored, for callers that repack them.
    #[must_use]
    pub fn data(&self) -> &WeightData<'a> {
        &self.data
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

    /// The elements as f32, rows one after another.
    #[must_use]
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &self.data {
            WeightData::Computed(numbers) => Cow::Borrowed(numbers),
            WeightData::Stored {
                encoding,
                bytes,
                row_scales,
            } => Cow::Owned(decode(*encoding, bytes, row_scales)),
        }
    }
}

fn decode(encoding: Encoding, bytes: &[u8], row_scales: &[f32]) -> Vec<f32> {
    match encoding {
        Encoding::F32 => words(bytes).map(f32::from_le_bytes).collect(),
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
        let data = WeightData::Stored {
            encoding,
            bytes,
            row_scales,
        };
        WeightTensor::new(vec![len], data).to_f32().into_owned()
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
            let row_scales = vec![1.0; scales];
            let data = WeightData::Stored {
                encoding,
                bytes,
                row_scales,
            };
            WeightTensor::checked(shape.to_vec(), data).is_some()
        };
        assert!(fits(&[2, 2], Encoding::F16, &[0; 8], 0));
        assert!(!fits(&[2, 2], Encoding::F16, &[0; 7], 0));
        assert!(!fits(&[2, 2], Encoding::F16, &[0; 8], 2));
        assert!(fits(&[2, 2], Encoding::I8, &[0; 4], 2));
        assert!(!fits(&[2, 2], Encoding::I8, &[0; 4], 0));
        assert!(!fits(&[usize::MAX, 2], Encoding::F32, &[], 0));
        let computed = |shape: &[usize]| {
            WeightTensor::checked(shape.to_vec(), WeightData::Computed(vec![0.0; 3])).is_some()
        };
        assert!(computed(&[3]) && !computed(&[4]));
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
    fn floats_are_read_as_they_are() {
        let bytes: Vec<u8> = [1.5_f32, -0.0, f32::MIN]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert_eq!(stored(Encoding::F32, &bytes, vec![]), [1.5, -0.0, f32::MIN]);
    }
}
