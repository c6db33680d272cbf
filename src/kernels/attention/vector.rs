//! The few vector operations that attention is written over, and their plain version.
//!
//! One algorithm, a thin file per instruction set. A type that implements [`Vector`] is only ever used
//! below a function that enables its instructions, which is only entered with the matching
//! [`SimdLevel`](crate::kernels::SimdLevel).

/// Floats and 32-bit words, [`Vector::LANES`] at a time.
///
/// Slices that are too short for an operation make it panic, never read or write outside.
pub(super) trait Vector: Copy {
    /// Floats.
    type F: Copy;
    /// 32-bit words; as bytes, four neighbours of one lane.
    type I: Copy;
    /// Lanes in a vector: 4, 8 or 16.
    const LANES: usize;

    fn splat(x: f32) -> Self::F;
    fn load(from: &[f32]) -> Self::F;
    /// Half floats, widened.
    fn load_f16(from: &[u16]) -> Self::F;
    fn store(x: Self::F, to: &mut [f32]);
    /// The bits of the floats.
    fn store_bits(x: Self::F, to: &mut [u32]);
    /// The low byte of each lane, four in a word.
    fn store_bytes(x: Self::I, to: &mut [u32]);

    fn add(a: Self::F, b: Self::F) -> Self::F;
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a × b + c`.
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `x` less its floor.
    fn fraction(x: Self::F) -> Self::F;
    /// `x × 2^floor(n)`; 0 where `n` is far below -127.
    fn scale(x: Self::F, n: Self::F) -> Self::F;
    /// The sum of all lanes, in a fixed order.
    fn sum(x: Self::F) -> f32;
    fn maximum(x: Self::F) -> f32;

    fn splat_word(x: u32) -> Self::I;
    fn load_words(from: &[u32]) -> Self::I;
    fn store_words(x: Self::I, to: &mut [u32]);
    fn add_words(a: Self::I, b: Self::I) -> Self::I;
    /// The low bytes of four vectors whose lanes hold 0 ..= 255, four neighbours in a word.
    fn join_bytes(x: [Self::I; 4]) -> Self::I;
    /// Moves `x` up by a byte and puts the low byte of `low` below it.
    fn join_byte(x: Self::I, low: Self::I) -> Self::I;
    /// The upper 24 bits of each lane, moved down by a byte.
    fn shift_byte(x: Self::I) -> Self::I;
    /// Rounded to whole numbers.
    fn to_words(x: Self::F) -> Self::I;
    fn to_floats(x: Self::I) -> Self::F;
    /// Adds to each lane of `sum` the four products of `a`'s unsigned and `b`'s signed bytes.
    fn dot_bytes(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// `255 × 2^-x` as bytes, joined as [`Vector::join_bytes`] does.
    #[inline(always)]
    fn byte_powers(x: [Self::F; 4]) -> Self::I {
        // log2 of 255.
        let top = Self::splat(7.994_353_5);
        let mut words = [Self::splat_word(0); 4];
        for (word, x) in words.iter_mut().zip(x) {
            *word = Self::to_words(exp2_coarse::<Self>(Self::sub(top, x)));
        }
        Self::join_bytes(words)
    }

    /// Asks for the cache line at `place`, which will be read soon. A hint: does nothing else.
    #[inline(always)]
    fn prefetch<T>(_place: *const T) {}
}

/// Minimax coefficients of `2^x` on 0 ..= 1, lowest power first: relative error 7.5e-8.
const EXP2: [f32; 6] = [
    0.999_999_93,
    0.693_153_1,
    0.240_153_62,
    0.055_826_317,
    0.008_989_34,
    0.001_877_576_7,
];

/// The same to 1.7e-3, for probabilities that are rounded to bytes afterwards.
const EXP2_COARSE: [f32; 3] = [1.001_724_8, 0.657_636_3, 0.337_189_43];

#[inline(always)]
fn exp2_over<V: Vector, const N: usize>(x: V::F, coefficients: &[f32; N]) -> V::F {
    let fraction = V::fraction(x);
    let mut y = V::splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        y = V::fma(y, fraction, V::splat(coefficients[i]));
    }
    V::scale(y, x)
}

/// `2^x` in f32 precision, for `x` up to 126; 0 far below.
#[inline(always)]
pub(super) fn exp2<V: Vector>(x: V::F) -> V::F {
    exp2_over::<V, 6>(x, &EXP2)
}

/// `2^x` to 1.7e-3.
#[inline(always)]
pub(super) fn exp2_coarse<V: Vector>(x: V::F) -> V::F {
    exp2_over::<V, 3>(x, &EXP2_COARSE)
}

/// Plain Rust, four lanes.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

#[inline(always)]
fn first4<T: Copy>(from: &[T]) -> [T; 4] {
    [from[0], from[1], from[2], from[3]]
}

#[inline(always)]
fn zip<T: Copy, U>(a: [T; 4], b: [T; 4], f: impl Fn(T, T) -> U) -> [U; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Vector for Scalar {
    type F = [f32; 4];
    type I = [u32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    fn load(from: &[f32]) -> [f32; 4] {
        first4(from)
    }
    #[inline(always)]
    fn load_f16(from: &[u16]) -> [f32; 4] {
        first4(from).map(|x| half::f16::from_bits(x).to_f32())
    }
    #[inline(always)]
    fn store(x: [f32; 4], to: &mut [f32]) {
        to[..4].copy_from_slice(&x);
    }
    #[inline(always)]
    fn store_bits(x: [f32; 4], to: &mut [u32]) {
        to[..4].copy_from_slice(&x.map(f32::to_bits));
    }
    #[inline(always)]
    fn store_bytes(x: [u32; 4], to: &mut [u32]) {
        to[0] = u32::from_le_bytes(x.map(|x| x as u8));
    }
    #[inline(always)]
    fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        Self::add(Self::mul(a, b), c)
    }
    #[inline(always)]
    fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, f32::max)
    }
    #[inline(always)]
    fn fraction(x: [f32; 4]) -> [f32; 4] {
        x.map(|x| x - x.floor())
    }
    #[inline(always)]
    fn scale(x: [f32; 4], n: [f32; 4]) -> [f32; 4] {
        let power = |n: f32| f32::from_bits(((n.max(-127.0).floor() as i32 + 127) as u32) << 23);
        zip(x, n, |x, n| x * power(n))
    }
    #[inline(always)]
    fn sum(x: [f32; 4]) -> f32 {
        (x[0] + x[2]) + (x[1] + x[3])
    }
    #[inline(always)]
    fn maximum(x: [f32; 4]) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn splat_word(x: u32) -> [u32; 4] {
        [x; 4]
    }
    #[inline(always)]
    fn load_words(from: &[u32]) -> [u32; 4] {
        first4(from)
    }
    #[inline(always)]
    fn store_words(x: [u32; 4], to: &mut [u32]) {
        to[..4].copy_from_slice(&x);
    }
    #[inline(always)]
    fn join_bytes(x: [[u32; 4]; 4]) -> [u32; 4] {
        x.map(|x| u32::from_le_bytes(x.map(|x| x as u8)))
    }
    #[inline(always)]
    fn join_byte(x: [u32; 4], low: [u32; 4]) -> [u32; 4] {
        zip(x, low, |x, low| x << 8 | low & 255)
    }
    #[inline(always)]
    fn add_words(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn shift_byte(x: [u32; 4]) -> [u32; 4] {
        x.map(|x| x >> 8)
    }
    #[inline(always)]
    fn to_words(x: [f32; 4]) -> [u32; 4] {
        x.map(|x| x.round_ties_even() as i32 as u32)
    }
    #[inline(always)]
    fn to_floats(x: [u32; 4]) -> [f32; 4] {
        x.map(|x| x as i32 as f32)
    }
    #[inline(always)]
    fn dot_bytes(sum: [u32; 4], a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        let dot = zip(a, b, |a, b| {
            let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            products
                .map(|(a, b)| i32::from(a) * i32::from(b as i8))
                .sum::<i32>() as u32
        });
        Self::add_words(sum, dot)
    }
}
