//! The dtypes a tile can be computed in.
//!
//! A [`Scheme`] says how a query becomes left operands of the score product, how scores become
//! probabilities, and how those become left operands of the value product. Left operands are 32-bit
//! words that are broadcast: a float or four bytes.

use bytemuck::Pod;

use crate::kernels::simd::math::exp2;
use crate::kernels::simd::{LANES, Simd};

/// One multiply-and-add of a broadcast word with a vector of stored items.
pub(super) trait Product {
    /// What is stored.
    type Item: Pod;
    /// Stored items in a register.
    type Right<V: Simd>: Copy;
    /// Running sums.
    type Sum<V: Simd>: Copy;
    /// Terms of a sum in one step.
    const TERMS: usize;
    /// Whether what is stored may be 128 too high, which the sums' starts are to take back.
    const OFFSET: bool = false;

    fn start<V: Simd>(v: V, at: i32) -> Self::Sum<V>;
    fn load<V: Simd>(v: V, from: &[Self::Item]) -> Self::Right<V>;
    /// With the word `lane` of `left`.
    fn step<V: Simd>(
        v: V,
        sum: Self::Sum<V>,
        left: V::Words,
        lane: usize,
        right: Self::Right<V>,
    ) -> Self::Sum<V>;
}

/// f32 × f32.
pub(super) struct F32;
/// Four signed bytes × four of [`Simd::of_one_sign`] of unsigned ones: scores.
pub(super) struct ByteScores;
/// Four unsigned bytes × four of [`Simd::of_one_sign`] of signed ones: values.
pub(super) struct ByteValues;

impl Product for F32 {
    type Item = f32;
    type Right<V: Simd> = V::F;
    type Sum<V: Simd> = V::F;
    const TERMS: usize = 1;

    #[inline(always)]
    fn start<V: Simd>(v: V, _: i32) -> V::F {
        v.splat(0.0)
    }
    #[inline(always)]
    fn load<V: Simd>(v: V, from: &[f32]) -> V::F {
        v.load_first(from)
    }
    #[inline(always)]
    fn step<V: Simd>(v: V, sum: V::F, left: V::Words, lane: usize, right: V::F) -> V::F {
        v.fma_word(left, lane, right, sum)
    }
}

impl Product for ByteScores {
    type Item = u32;
    type Right<V: Simd> = V::I;
    type Sum<V: Simd> = V::I;
    const TERMS: usize = 4;

    #[inline(always)]
    fn start<V: Simd>(v: V, at: i32) -> V::I {
        v.splat_i32(at)
    }
    #[inline(always)]
    fn load<V: Simd>(v: V, from: &[u32]) -> V::I {
        v.load_words(from)
    }
    #[inline(always)]
    fn step<V: Simd>(v: V, sum: V::I, left: V::Words, lane: usize, right: V::I) -> V::I {
        v.dot_signed(sum, left, lane, right)
    }
}

impl Product for ByteValues {
    type Item = u32;
    type Right<V: Simd> = V::I;
    type Sum<V: Simd> = V::I;
    const TERMS: usize = 4;
    const OFFSET: bool = true;

    #[inline(always)]
    fn start<V: Simd>(v: V, at: i32) -> V::I {
        v.splat_i32(at)
    }
    #[inline(always)]
    fn load<V: Simd>(v: V, from: &[u32]) -> V::I {
        v.load_words(from)
    }
    #[inline(always)]
    fn step<V: Simd>(v: V, sum: V::I, left: V::Words, lane: usize, right: V::I) -> V::I {
        v.dot_unsigned(sum, left, lane, right)
    }
}

/// What a query's left operands stand for.
#[derive(Clone, Copy, Default)]
pub(super) struct Scaled {
    /// Turns a finished sum into a score in bits (log2), before any key scale.
    pub(super) factor: f32,
    /// Where each left row's sums start (bytes: takes back the keys' offset of 128).
    pub(super) start: [i32; 2],
}

/// Where keys are stored 128 too high, that times the sum of a query's bytes is taken back.
#[inline(always)]
fn keys_offset<V: Simd>(sum: i32) -> i32 {
    if V::MIXED_SIGNS { -128 * sum } else { 0 }
}

/// A way to compute a tile.
pub(super) trait Scheme {
    /// Queries × keys.
    type Score: Product;
    /// Probabilities × values.
    type Value: Product;
    /// Left rows per query, 1 or 2.
    const ROWS: usize;
    /// What a probability of 1 is written as, in bits (log2): the shift of [`Scheme::probabilities`]
    /// is the highest score less this.
    const ONE_BITS: f32;
    /// Whether scores are to be multiplied by the keys' scales.
    const KEY_SCALES: bool;

    /// Writes a query, padded with zeros to whole vectors, times `scale`, as left rows `stride`
    /// apart. A vector's worth of words behind a row may be written, too.
    fn query<V: Simd>(v: V, query: &[f32], scale: f32, left: &mut [u32], stride: usize) -> Scaled;
    /// Joins the sums of a query's left rows; `key_scale` is per lane.
    fn score<V: Simd>(
        v: V,
        sums: [<Self::Score as Product>::Sum<V>; 2],
        factor: V::F,
        key_scale: V::F,
    ) -> V::F;
    /// Writes `2^(score - shift)` as left rows `stride` apart; what was written, summed per lane.
    fn probabilities<V: Simd>(
        v: V,
        scores: &[f32],
        shift: V::F,
        left: &mut [u32],
        stride: usize,
    ) -> V::F;
    /// Joins the sums of a query's left rows.
    fn value<V: Simd>(v: V, sums: [<Self::Value as Product>::Sum<V>; 2]) -> V::F;
}

/// Everything in f32.
pub(super) struct Exact;
/// Byte keys and values; queries and probabilities in 16 bits, as two bytes each.
pub(super) struct WideBytes;
/// Byte products throughout.
pub(super) struct NarrowBytes;

#[inline(always)]
fn float_query(query: &[f32], scale: f32, left: &mut [u32]) -> Scaled {
    for (to, x) in left.iter_mut().zip(query) {
        *to = (x * scale).to_bits();
    }
    Scaled {
        factor: 1.0,
        start: [0; 2],
    }
}

#[inline(always)]
fn float_probabilities<V: Simd>(v: V, scores: &[f32], shift: V::F, left: &mut [u32]) -> V::F {
    let mut sum = v.splat(0.0);
    for (scores, left) in scores.chunks_exact(LANES).zip(left.chunks_exact_mut(LANES)) {
        let p = exp2(v, v.sub(v.load_first(scores), shift));
        v.store(
            p,
            bytemuck::cast_slice_mut(left)
                .first_chunk_mut()
                .expect("a vector"),
        );
        sum = v.add(sum, p);
    }
    sum
}

impl Scheme for Exact {
    type Score = F32;
    type Value = F32;
    const ROWS: usize = 1;
    const ONE_BITS: f32 = 0.0;
    const KEY_SCALES: bool = false;

    #[inline(always)]
    fn query<V: Simd>(_: V, query: &[f32], scale: f32, left: &mut [u32], _: usize) -> Scaled {
        float_query(query, scale, left)
    }
    #[inline(always)]
    fn score<V: Simd>(_: V, sums: [V::F; 2], _: V::F, _: V::F) -> V::F {
        sums[0]
    }
    #[inline(always)]
    fn probabilities<V: Simd>(
        v: V,
        scores: &[f32],
        shift: V::F,
        left: &mut [u32],
        _: usize,
    ) -> V::F {
        float_probabilities(v, scores, shift, left)
    }
    #[inline(always)]
    fn value<V: Simd>(_: V, sums: [V::F; 2]) -> V::F {
        sums[0]
    }
}

/// The low bytes of 16 lanes as four words.
#[inline(always)]
pub(super) fn store_bytes<V: Simd>(v: V, x: V::I, to: &mut [u32]) {
    let words: &mut [u32; 4] = to.first_chunk_mut().expect("four words");
    v.store_low_bytes(x, bytemuck::cast_mut(words));
}

/// The largest absolute value.
#[inline(always)]
fn largest<V: Simd>(v: V, x: &[f32]) -> f32 {
    let (zero, mut largest) = (v.splat(0.0), v.splat(0.0));
    for x in x.chunks_exact(LANES) {
        let x = v.load_first(x);
        largest = v.max(largest, v.max(x, v.sub(zero, x)));
    }
    v.largest(largest)
}

#[inline(always)]
fn to_bytes(four: &[f32], convert: impl Fn(f32) -> i32) -> [i32; 4] {
    std::array::from_fn(|i| four.get(i).map_or(0, |&x| convert(x)))
}

/// `255 × 2^(score - top)` as bytes, of up to four vectors.
#[inline(always)]
fn byte_probabilities<V: Simd>(v: V, scores: &[f32], top: V::F) -> V::I {
    let mut below = [v.splat(NOTHING); 4];
    for (below, score) in below.iter_mut().zip(scores.chunks_exact(LANES)) {
        *below = v.sub(top, v.load_first(score));
    }
    v.byte_powers(below)
}

/// So far below the highest score, nothing of a probability is left.
const NOTHING: f32 = 100.0;

impl Scheme for NarrowBytes {
    type Score = ByteScores;
    type Value = ByteValues;
    const ROWS: usize = 1;
    /// [`Simd::byte_powers`] multiplies by 255.
    const ONE_BITS: f32 = 0.0;
    const KEY_SCALES: bool = true;

    #[inline(always)]
    fn query<V: Simd>(v: V, query: &[f32], scale: f32, left: &mut [u32], _: usize) -> Scaled {
        let largest = largest(v, query);
        let inverse = v.splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let mut sum = v.splat_i32(0);
        for (i, query) in query.chunks_exact(LANES).enumerate() {
            let words = v.round(v.mul(v.load_first(query), inverse));
            store_bytes(v, words, &mut left[i * LANES / 4..]);
            sum = v.add_i32(sum, words);
        }
        Scaled {
            factor: largest / 127.0 * scale,
            start: [keys_offset::<V>(v.total(v.float(sum)) as i32), 0],
        }
    }
    #[inline(always)]
    fn score<V: Simd>(v: V, sums: [V::I; 2], factor: V::F, key_scale: V::F) -> V::F {
        v.mul(v.float(sums[0]), v.mul(factor, key_scale))
    }
    #[inline(always)]
    fn probabilities<V: Simd>(v: V, scores: &[f32], top: V::F, left: &mut [u32], _: usize) -> V::F {
        let (mut sum, ones) = (v.splat_i32(0), v.splat_i32(0x0101_0101));
        let quads = scores.chunks(4 * LANES);
        for (scores, left) in quads.zip(left.chunks_exact_mut(LANES)) {
            let bytes = byte_probabilities(v, scores, top);
            v.store_words(bytes, left);
            sum = v.dot_bytes(sum, bytes, ones);
        }
        v.float(sum)
    }
    #[inline(always)]
    fn value<V: Simd>(v: V, sums: [V::I; 2]) -> V::F {
        v.float(sums[0])
    }
}

impl Scheme for WideBytes {
    type Score = ByteScores;
    type Value = ByteValues;
    const ROWS: usize = 2;
    const ONE_BITS: f32 = 15.999_978;
    const KEY_SCALES: bool = true;

    #[inline(always)]
    fn query<V: Simd>(v: V, query: &[f32], scale: f32, left: &mut [u32], stride: usize) -> Scaled {
        // 32512 = 127 × 256: the high byte stays within -127 ..= 127.
        let largest = largest(v, query);
        let inverse = if largest > 0.0 {
            32512.0 / largest
        } else {
            0.0
        };
        let (high_row, low_row) = left.split_at_mut(stride);
        let (mut high_sum, mut low_sum) = (0, 0);
        for ((high, low), four) in high_row.iter_mut().zip(low_row).zip(query.chunks(4)) {
            let x = to_bytes(four, |x| (x * inverse).round_ties_even() as i32);
            let highs = x.map(|x| (x + 128) >> 8);
            let lows = x.map(|x| i32::from(x as i8));
            high_sum += highs.iter().sum::<i32>();
            low_sum += lows.iter().sum::<i32>();
            *high = u32::from_le_bytes(highs.map(|x| x as u8));
            *low = u32::from_le_bytes(lows.map(|x| x as u8));
        }
        Scaled {
            factor: largest / 32512.0 * scale,
            start: [keys_offset::<V>(high_sum), keys_offset::<V>(low_sum)],
        }
    }
    #[inline(always)]
    fn score<V: Simd>(v: V, sums: [V::I; 2], factor: V::F, key_scale: V::F) -> V::F {
        let sum = v.fma(v.float(sums[0]), v.splat(256.0), v.float(sums[1]));
        v.mul(sum, v.mul(factor, key_scale))
    }
    #[inline(always)]
    fn probabilities<V: Simd>(
        v: V,
        scores: &[f32],
        shift: V::F,
        left: &mut [u32],
        stride: usize,
    ) -> V::F {
        let mut sum = v.splat(0.0);
        let (high, low) = left.split_at_mut(stride);
        let rows = high
            .chunks_exact_mut(LANES / 4)
            .zip(low.chunks_exact_mut(LANES / 4));
        for (scores, (high, low)) in scores.chunks_exact(LANES).zip(rows) {
            let p = v.round(exp2(v, v.sub(v.load_first(scores), shift)));
            store_bytes(v, v.shift_byte(p), high);
            store_bytes(v, p, low);
            sum = v.add(sum, v.float(p));
        }
        sum
    }
    #[inline(always)]
    fn value<V: Simd>(v: V, sums: [V::I; 2]) -> V::F {
        v.fma(v.float(sums[0]), v.splat(256.0), v.float(sums[1]))
    }
}
