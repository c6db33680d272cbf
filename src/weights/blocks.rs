//! GGML's quantized numbers: blocks of small integers that share a scale.
//!
//! The layouts are those of ggml's reference code. In the simple ones a block is 32 numbers; in
//! the "K" ones 256, in groups with scales of their own.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;

/// A layout of quantized elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Block {
    /// 4 bits around 0, one scale.
    Q4_0,
    /// 4 bits, scale and minimum.
    Q4_1,
    /// 5 bits around 0, one scale.
    Q5_0,
    /// 5 bits, scale and minimum.
    Q5_1,
    /// 8 bits, one scale.
    Q8_0,
    /// 4 bits, groups of 32 with 6-bit scales and minima.
    Q4K,
    /// 5 bits, groups of 32 with 6-bit scales and minima.
    Q5K,
    /// 6 bits around 0, groups of 16 with 8-bit scales.
    Q6K,
}

const SIMPLE: usize = 32;
const K: usize = 256;

/// What is to be known of a layout.
struct Layout {
    block: Block,
    /// ggml's number for tensors of it, and for files made of it.
    ggml: u32,
    file_type: usize,
    numbers: usize,
    bytes: usize,
    /// candle's name for it: candle quantizes.
    candle: GgmlDType,
}

const fn layout(
    block: Block,
    (ggml, file_type): (u32, usize),
    numbers: usize,
    bytes: usize,
    candle: GgmlDType,
) -> Layout {
    Layout {
        block,
        ggml,
        file_type,
        numbers,
        bytes,
        candle,
    }
}

/// In the order of [`Block`]'s variants; bytes are scale, minimum, fifth bits, numbers.
const LAYOUTS: [Layout; 8] = [
    layout(Block::Q4_0, (2, 2), SIMPLE, 2 + 16, GgmlDType::Q4_0),
    layout(Block::Q4_1, (3, 3), SIMPLE, 2 + 2 + 16, GgmlDType::Q4_1),
    layout(Block::Q5_0, (6, 8), SIMPLE, 2 + 4 + 16, GgmlDType::Q5_0),
    layout(Block::Q5_1, (7, 9), SIMPLE, 2 + 2 + 4 + 16, GgmlDType::Q5_1),
    layout(Block::Q8_0, (8, 7), SIMPLE, 2 + 32, GgmlDType::Q8_0),
    layout(Block::Q4K, (12, 12), K, 2 + 2 + 12 + 128, GgmlDType::Q4K),
    layout(
        Block::Q5K,
        (13, 13),
        K,
        2 + 2 + 12 + 32 + 128,
        GgmlDType::Q5K,
    ),
    layout(Block::Q6K, (14, 14), K, 128 + 64 + 16 + 2, GgmlDType::Q6K),
];

impl Block {
    fn layout(self) -> &'static Layout {
        &LAYOUTS[self as usize]
    }

    /// The layout that GGML's number means.
    pub(super) fn from_ggml(number: u32) -> Option<Self> {
        let layout = LAYOUTS.iter().find(|layout| layout.ggml == number)?;
        Some(layout.block)
    }

    /// GGML's number for the layout.
    pub(super) fn to_ggml(self) -> u32 {
        self.layout().ggml
    }

    /// GGML's number for files whose matrices are in the layout.
    pub(super) fn file_type(self) -> usize {
        self.layout().file_type
    }

    /// Numbers in a block.
    #[must_use]
    pub fn numbers(self) -> usize {
        self.layout().numbers
    }

    /// Bytes of a block.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.layout().bytes
    }

    /// Bytes of so many elements; `None` where they fill no whole blocks.
    pub(super) fn byte_len(self, numbers: usize) -> Option<usize> {
        let whole = numbers.is_multiple_of(self.numbers());
        (numbers / self.numbers())
            .checked_mul(self.bytes())
            .filter(|_| whole)
    }

    /// Whole blocks out of f32, by candle's quantizers.
    pub(super) fn encode(self, floats: Vec<f32>) -> Result<Vec<u8>, String> {
        let shape = (floats.len() / self.numbers(), self.numbers());
        let quantized = || -> candle_core::Result<Vec<u8>> {
            let tensor = Tensor::from_vec(floats, shape, &Device::Cpu)?;
            let quantized = QTensor::quantize(&tensor, self.layout().candle)?;
            Ok(quantized.data()?.into_owned())
        };
        quantized().map_err(|e| e.to_string())
    }

    /// Whole blocks as f32.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let mut out = vec![0.0; bytes.len() / self.bytes() * self.numbers()];
        let blocks = bytes
            .chunks_exact(self.bytes())
            .zip(out.chunks_exact_mut(self.numbers()));
        for (block, out) in blocks {
            match self {
                Self::Q4_0 => nibbles(half(block), -8.0 * half(block), 0, &block[2..], out),
                Self::Q4_1 => nibbles(half(block), half(&block[2..]), 0, &block[4..], out),
                Self::Q5_0 => {
                    nibbles(
                        half(block),
                        -16.0 * half(block),
                        bits(&block[2..]),
                        &block[6..],
                        out,
                    );
                }
                Self::Q5_1 => {
                    let minimum = half(&block[2..]);
                    nibbles(half(block), minimum, bits(&block[4..]), &block[8..], out);
                }
                Self::Q8_0 => eight_bits(half(block), &block[2..], out),
                Self::Q4K => four_or_five_k(block, &[], &block[16..], out),
                Self::Q5K => four_or_five_k(block, &block[16..48], &block[48..], out),
                Self::Q6K => six_k(block, out),
            }
        }
        out
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn bits(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// 32 numbers of 4 bits, low halves of the bytes first, each with a fifth bit from `fifth`.
fn nibbles(scale: f32, minimum: f32, fifth: u32, bytes: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(SIMPLE / 2);
    for (i, ((low, high), byte)) in low.iter_mut().zip(high).zip(bytes).enumerate() {
        let extra = |bit: usize| ((fifth >> bit) & 1) as u8 * 16;
        *low = f32::from((byte & 15) + extra(i)) * scale + minimum;
        *high = f32::from((byte >> 4) + extra(i + SIMPLE / 2)) * scale + minimum;
    }
}

fn eight_bits(scale: f32, bytes: &[u8], out: &mut [f32]) {
    for (out, byte) in out.iter_mut().zip(bytes) {
        *out = f32::from(byte.cast_signed()) * scale;
    }
}

/// 6-bit scale and minimum of group `i` of 8, out of 12 bytes.
fn scale_and_minimum(i: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, minimum) = match i {
        0..4 => (packed[i] & 63, packed[i + 4] & 63),
        _ => (
            (packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4),
            (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4),
        ),
    };
    (f32::from(scale), f32::from(minimum))
}

/// 256 numbers in 8 groups; two groups share 32 bytes, the first in their low halves. `fifth` is
/// empty or holds a bit for each number.
fn four_or_five_k(block: &[u8], fifth: &[u8], bytes: &[u8], out: &mut [f32]) {
    let (scale, minimum, packed) = (half(block), half(&block[2..]), &block[4..16]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_and_minimum(group, packed);
        for (i, out) in out.iter_mut().enumerate() {
            let byte = bytes[group / 2 * 32 + i];
            let four = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            let five = fifth.get(i).map_or(0, |bits| (bits >> group) & 1) * 16;
            *out = scale * s * f32::from(four + five) - minimum * m;
        }
    }
}

/// 256 numbers: 128 bytes of low halves, 64 of upper pairs of bits, 16 scales, one scale for all.
fn six_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(&block[208..]);
    for (i, out) in out.iter_mut().enumerate() {
        // Each half of the block holds four runs of 32; runs 0 and 2 share bytes, as do 1 and 3.
        let (part, run, at) = (i / 128, i / 32 % 4, i % 32);
        let byte = low[part * 64 + run % 2 * 32 + at];
        let four = if run < 2 { byte & 15 } else { byte >> 4 };
        let two = (high[part * 32 + at] >> (2 * run)) & 3;
        let number = f32::from(four | (two << 4)) - 32.0;
        *out = scale * f32::from(scales[i / 16].cast_signed()) * number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::largest_error;

    #[test]
    fn simple_blocks_are_read_as_ggml_writes_them() {
        let scale = f16::from_f32(0.5).to_le_bytes();
        let minimum = f16::from_f32(-1.0).to_le_bytes();
        let nibbles: Vec<u8> = (0..16).map(|i| i | ((15 - i) << 4)).collect();
        let fifth = 0x8000_0001_u32.to_le_bytes();
        // Number 0 is low half 0, number 31 is high half 0 of byte 15; both have the fifth bit set.
        let cases: [(Block, Vec<u8>, [f32; 3]); 4] = [
            (
                Block::Q4_0,
                [&scale[..], &nibbles].concat(),
                [-4.0, 3.5, -4.0],
            ),
            (
                Block::Q4_1,
                [&scale[..], &minimum, &nibbles].concat(),
                [-1.0, 6.5, -1.0],
            ),
            (
                Block::Q5_0,
                [&scale[..], &fifth, &nibbles].concat(),
                [0.0, -0.5, 0.0],
            ),
            (
                Block::Q5_1,
                [&scale[..], &minimum, &fifth, &nibbles].concat(),
                [7.0, 6.5, 7.0],
            ),
        ];
        for (block, bytes, [first, middle, last]) in cases {
            let out = block.decode(&bytes);
            assert_eq!(
                (out[0], out[16], out[31]),
                (first, middle, last),
                "{block:?}"
            );
            assert_eq!(block.byte_len(32), Some(bytes.len()), "{block:?}");
            assert_eq!(block.byte_len(33), None, "{block:?}");
        }
        let signed: Vec<u8> = (0..32_u8).map(|i| i.wrapping_sub(16)).collect();
        let out = Block::Q8_0.decode(&[&scale[..], &signed].concat());
        assert_eq!((out[0], out[16], out[31]), (-8.0, 0.0, 7.5));
    }

    #[test]
    fn what_candle_quantizes_is_read_as_candle_reads_it() {
        let floats: Vec<f32> = (0..4 * K).map(|i| (i as f32 * 0.37).sin()).collect();
        for (index, layout) in LAYOUTS.iter().enumerate() {
            let block = layout.block;
            assert_eq!(block as usize, index, "{block:?} is in its place");
            let shape = (floats.len() / block.numbers(), block.numbers());
            let tensor = Tensor::from_slice(&floats, shape, &Device::Cpu).unwrap();
            let quantized = QTensor::quantize(&tensor, layout.candle).unwrap();
            let theirs = quantized.dequantize(&Device::Cpu).unwrap();
            let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
            let bytes = block.encode(floats.clone()).unwrap();
            assert_eq!(Some(bytes.len()), block.byte_len(floats.len()), "{block:?}");
            assert_eq!(block.decode(&bytes), theirs, "{block:?}");
            assert!(largest_error(&theirs, &floats) < 0.15, "{block:?}");
        }
    }

    /// Sums of the numbers, and of the numbers times their index, as the `gguf` package of Python
    /// (0.17.1) gives them for the same bytes.
    #[test]
    fn blocks_are_decoded_as_ggufs_own_reader_does() {
        let cases: [(Block, &[usize], f64, f64); 5] = [
            (Block::Q4K, &[0, 2], 25_188.0, 3_128_936.0),
            (Block::Q5K, &[0, 2], 60_076.0, 7_499_152.0),
            (Block::Q6K, &[208], -4_206.0, -802_138.0),
            (Block::Q5_0, &[0], 5.5, -38.0),
            (Block::Q5_1, &[0, 2], 286.5, 4_349.5),
        ];
        for (block, halves, sum, moment) in cases {
            let mut bytes: Vec<u8> = (0..block.bytes()).map(|i| (i * 89 + 41) as u8).collect();
            for (&at, scale) in halves.iter().zip([0.5, 0.75]) {
                bytes[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            }
            let out = block.decode(&bytes);
            assert_eq!(out.len(), block.numbers(), "{block:?}");
            let weighted = |weight: fn(usize) -> f64| -> f64 {
                out.iter()
                    .enumerate()
                    .map(|(i, x)| f64::from(*x) * weight(i))
                    .sum()
            };
            assert_eq!(
                (weighted(|_| 1.0), weighted(|i| i as f64)),
                (sum, moment),
                "{block:?}"
            );
        }
    }
}
