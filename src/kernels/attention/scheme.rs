//! The number formats a tile can be computed in.
//!
//! A [`Scheme`] says how a query becomes left operands of the score product, how scores become
//! probabilities, and how those become left operands of the value product. Left operands are 32-bit
//! words that are broadcast: a float, two bf16, or four bytes.

use bytemuck::Pod;

use super::vector::{Vector, exp2};

/// One multiply-and-add of a broadcast word with a vector of stored items.
pub(super) trait Product<V: Vector> {
    /// What is stored.
    type Item: Pod;
    /// Stored items in a register.
    type Right: Copy;
    /// Running sums.
    type Sum: Copy;
    /// Terms of a sum in one step.
    const TERMS: usize;

    fn start(at: i32) -> Self::Sum;
    fn load(from: &[Self::Item]) -> Self::Right;
    fn step(sum: Self::Sum, left: u32, right: Self::Right) -> Self::Sum;
}

/// f32 × f32.
pub(super) struct F32;
/// Four signed bytes × four unsigned ones: scores.
pub(super) struct ByteScores;
/// Four unsigned bytes × four signed ones: values.
pub(super) struct ByteValues;

impl<V: Vector> Product<V> for F32 {
    type Item = f32;
    type Right = V::F;
    type Sum = V::F;
    const TERMS: usize = 1;

    #[inline(always)]
    fn start(_: i32) -> V::F {
        V::splat(0.0)
    }
    #[inline(always)]
    fn load(from: &[f32]) -> V::F {
        V::load(from)
    }
    #[inline(always)]
    fn step(sum: V::F, left: u32, right: V::F) -> V::F {
        V::fma(V::splat(f32::from_bits(left)), right, sum)
    }
}

impl<V: Vector> Product<V> for ByteScores {
    type Item = u32;
    type Right = V::I;
    type Sum = V::I;
    const TERMS: usize = 4;

    #[inline(always)]
    fn start(at: i32) -> V::I {
        V::splat_word(at as u32)
    }
    #[inline(always)]
    fn load(from: &[u32]) -> V::I {
        V::load_words(from)
    }
    #[inline(always)]
    fn step(sum: V::I, left: u32, right: V::I) -> V::I {
        V::dot_bytes(sum, right, V::splat_word(left))
    }
}

impl<V: Vector> Product<V> for ByteValues {
    type Item = u32;
    type Right = V::I;
    type Sum = V::I;
    const TERMS: usize = 4;

    #[inline(always)]
    fn start(at: i32) -> V::I {
        V::splat_word(at as u32)
    }
    #[inline(always)]
    fn load(from: &[u32]) -> V::I {
        V::load_words(from)
    }
    #[inline(always)]
    fn step(sum: V::I, left: u32, right: V::I) -> V::I {
        V::dot_bytes(sum, V::splat_word(left), right)
    }
}

/// Sums of a product, and what it stores.
pub(super) type Sum<V, P> = <P as Product<V>>::Sum;
/// Items that a product reads.
pub(super) type Item<V, P> = <P as Product<V>>::Item;

/// What a query's left operands stand for.
#[derive(Clone, Copy, Default)]
pub(super) struct Scaled {
    /// Turns a finished sum into a score in bits (log2), before any key scale.
    pub(super) factor: f32,
    /// Where each left row's sums start (bytes: takes back the keys' offset of 128).
    pub(super) start: [i32; 2],
}

/// A way to compute a tile.
pub(super) trait Scheme<V: Vector> {
    /// Queries × keys.
    type Score: Product<V>;
    /// Probabilities × values.
    type Value: Product<V>;
    /// Left rows per query, 1 or 2.
    const ROWS: usize;
    /// What a probability of 1 is written as, in bits (log2): the shift of [`Scheme::probabilities`]
    /// is the highest score less this.
    const ONE_BITS: f32;
    /// Whether scores are to be multiplied by the keys' scales.
    const KEY_SCALES: bool;

    /// Writes a query, padded with zeros to whole vectors, times `scale`, as left rows `stride`
    /// apart. A vector's worth of words behind a row may be written, too.
    fn query(query: &[f32], scale: f32, left: &mut [u32], stride: usize) -> Scaled;
    /// Joins the sums of a query's left rows; `key_scale` is per lane.
    fn score(sums: [Sum<V, Self::Score>; 2], factor: V::F, key_scale: V::F) -> V::F;
    /// Writes `2^(score - shift)` as left rows `stride` apart; what was written, summed per lane.
    fn probabilities(scores: &[f32], shift: V::F, left: &mut [u32], stride: usize) -> V::F;
    /// Joins the sums of a query's left rows.
    fn value(sums: [Sum<V, Self::Value>; 2]) -> V::F;
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
fn float_probabilities<V: Vector>(scores: &[f32], shift: V::F, left: &mut [u32]) -> V::F {
    let mut sum = V::splat(0.0);
    for (scores, left) in scores
        .chunks_exact(V::LANES)
        .zip(left.chunks_exact_mut(V::LANES))
    {
        let p = exp2::<V>(V::sub(V::load(scores), shift));
        V::store_bits(p, left);
        sum = V::add(sum, p);
    }
    sum
}

impl<V: Vector> Scheme<V> for Exact {
    type Score = F32;
    type Value = F32;
    const ROWS: usize = 1;
    const ONE_BITS: f32 = 0.0;
    const KEY_SCALES: bool = false;

    #[inline(always)]
    fn query(query: &[f32], scale: f32, left: &mut [u32], _: usize) -> Scaled {
        float_query(query, scale, left)
    }
    #[inline(always)]
    fn score(sums: [V::F; 2], _: V::F, _: V::F) -> V::F {
        sums[0]
    }
    #[inline(always)]
    fn probabilities(scores: &[f32], shift: V::F, left: &mut [u32], _: usize) -> V::F {
        float_probabilities::<V>(scores, shift, left)
    }
    #[inline(always)]
    fn value(sums: [V::F; 2]) -> V::F {
        sums[0]
    }
}

/// The largest absolute value.
#[inline(always)]
fn largest<V: Vector>(x: &[f32]) -> f32 {
    let (zero, mut largest) = (V::splat(0.0), V::splat(0.0));
    for x in x.chunks_exact(V::LANES) {
        let x = V::load(x);
        largest = V::max(largest, V::max(x, V::sub(zero, x)));
    }
    V::maximum(largest)
}

#[inline(always)]
fn to_bytes(four: &[f32], convert: impl Fn(f32) -> i32) -> [i32; 4] {
    std::array::from_fn(|i| four.get(i).map_or(0, |&x| convert(x)))
}

/// `255 × 2^(score - top)` as bytes, of up to four vectors.
#[inline(always)]
fn byte_probabilities<V: Vector>(scores: &[f32], top: V::F) -> V::I {
    let mut below = [V::splat(NOTHING); 4];
    for (below, score) in below.iter_mut().zip(scores.chunks_exact(V::LANES)) {
        *below = V::sub(top, V::load(score));
    }
    V::byte_powers(below)
}

/// So far below the highest score, nothing of a probability is left.
const NOTHING: f32 = 100.0;

impl<V: Vector> Scheme<V> for NarrowBytes {
    type Score = ByteScores;
    type Value = ByteValues;
    const ROWS: usize = 1;
    /// [`Vector::byte_powers`] multiplies by 255.
    const ONE_BITS: f32 = 0.0;
    const KEY_SCALES: bool = true;

    #[inline(always)]
    fn query(query: &[f32], scale: f32, left: &mut [u32], _: usize) -> Scaled {
        let largest = largest::<V>(query);
        let inverse = V::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let mut sum = V::splat_word(0);
        for (i, query) in query.chunks_exact(V::LANES).enumerate() {
            let words = V::to_words(V::mul(V::load(query), inverse));
            V::store_bytes(words, &mut left[i * V::LANES / 4..]);
            sum = V::add_words(sum, words);
        }
        Scaled {
            factor: largest / 127.0 * scale,
            start: [-128 * V::sum(V::to_floats(sum)) as i32, 0],
        }
    }
    #[inline(always)]
    fn score(sums: [V::I; 2], factor: V::F, key_scale: V::F) -> V::F {
        V::mul(V::to_floats(sums[0]), V::mul(factor, key_scale))
    }
    #[inline(always)]
    fn probabilities(scores: &[f32], top: V::F, left: &mut [u32], _: usize) -> V::F {
        let (mut sum, ones) = (V::splat_word(0), V::splat_word(0x0101_0101));
        let quads = scores.chunks(4 * V::LANES);
        for (scores, left) in quads.zip(left.chunks_exact_mut(V::LANES)) {
            let bytes = byte_probabilities::<V>(scores, top);
            V::store_words(bytes, left);
            sum = V::dot_bytes(sum, bytes, ones);
        }
        V::to_floats(sum)
    }
    #[inline(always)]
    fn value(sums: [V::I; 2]) -> V::F {
        V::to_floats(sums[0])
    }
}

impl<V: Vector> Scheme<V> for WideBytes {
    type Score = ByteScores;
    type Value = ByteValues;
    const ROWS: usize = 2;
    const ONE_BITS: f32 = 15.999_978;
    const KEY_SCALES: bool = true;

    #[inline(always)]
    fn query(query: &[f32], scale: f32, left: &mut [u32], stride: usize) -> Scaled {
        // 32512 = 127 × 256: the high byte stays within -127 ..= 127.
        let largest = largest::<V>(query);
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
            start: [-128 * high_sum, -128 * low_sum],
        }
    }
    #[inline(always)]
    fn score(sums: [V::I; 2], factor: V::F, key_scale: V::F) -> V::F {
        let sum = V::fma(
            V::to_floats(sums[0]),
            V::splat(256.0),
            V::to_floats(sums[1]),
        );
        V::mul(sum, V::mul(factor, key_scale))
    }
    #[inline(always)]
    fn probabilities(scores: &[f32], shift: V::F, left: &mut [u32], stride: usize) -> V::F {
        let mut sum = V::splat(0.0);
        let (high, low) = left.split_at_mut(stride);
        let rows = high
            .chunks_exact_mut(V::LANES / 4)
            .zip(low.chunks_exact_mut(V::LANES / 4));
        for (scores, (high, low)) in scores.chunks_exact(V::LANES).zip(rows) {
            let p = V::to_words(exp2::<V>(V::sub(V::load(scores), shift)));
            V::store_bytes(V::shift_byte(p), high);
            V::store_bytes(p, low);
            sum = V::add(sum, V::to_floats(p));
        }
        sum
    }
    #[inline(always)]
    fn value(sums: [V::I; 2]) -> V::F {
        V::fma(
            V::to_floats(sums[0]),
            V::splat(256.0),
            V::to_floats(sums[1]),
        )
    }
}
