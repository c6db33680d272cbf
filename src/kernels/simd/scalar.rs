//! Plain Rust, for any CPU; and the judge of the other levels.

use half::f16;

use super::{LANES, POWERS, Simd};

/// Arrays of 16.
#[derive(Clone, Copy)]
pub struct Scalar;

#[inline(always)]
fn map2<A: Copy, B: Copy, C>(a: [A; LANES], b: [B; LANES], f: impl Fn(A, B) -> C) -> [C; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn round(x: f32) -> i32 {
    let nearest = x.round_ties_even();
    let fits = (-2147483648.0..2147483648.0).contains(&nearest);
    if fits { nearest as i32 } else { i32::MIN }
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type Mask = [bool; LANES];
    type Bytes = [i8; 4 * LANES];
    super::one_word_at_a_time!();
    const MIXED_SIGNS: bool = true;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 4;
    const TILE_LEFT: usize = 6;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::F {
        from.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::Mask {
        map2(a, b, |a, b| a < b)
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, yes: Self::F, no: Self::F) -> Self::F {
        std::array::from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::Mask {
        std::array::from_fn(|i| bits >> i & 1 == 1)
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::I {
        x.map(round)
    }
    #[inline(always)]
    fn float(self, x: Self::I) -> Self::F {
        x.map(|x| x as f32)
    }
    #[inline(always)]
    fn exponent(self, x: Self::I) -> Self::F {
        x.map(|x| f32::from_bits((x as u32) << 23))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        *from
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        map2(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I {
        map2(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I {
        map2(a, b, i32::wrapping_mul)
    }
    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn store_u8(self, x: Self::I, to: &mut [u8; LANES]) {
        *to = x.map(|x| x.clamp(0, 255) as u8);
    }
    #[inline(always)]
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes {
        *from
    }
    #[inline(always)]
    fn dot4(self, sum: Self::I, x: u32, _: usize, signed: Self::Bytes) -> Self::I {
        let x = x.to_le_bytes();
        std::array::from_fn(|lane| {
            let products = (0..4).map(|i| i32::from(x[i]) * i32::from(signed[4 * lane + i]));
            sum[lane] + products.sum::<i32>()
        })
    }
    #[inline(always)]
    fn fraction(self, x: Self::F) -> Self::F {
        x.map(|x| x - x.floor())
    }
    #[inline(always)]
    fn scale(self, x: Self::F, n: Self::F) -> Self::F {
        let power = |n: f32| f32::from_bits(((n.max(-127.0).floor() as i32 + 127) as u32) << 23);
        map2(x, n, |x, n| x * power(n))
    }
    #[inline(always)]
    fn store_low_bytes(self, x: Self::I, to: &mut [u8; LANES]) {
        *to = x.map(|x| x as u8);
    }
    #[inline(always)]
    fn join_bytes(self, x: [Self::I; 4]) -> Self::I {
        let byte = |i: usize| x[i / LANES][i % LANES] as u8;
        std::array::from_fn(|lane| i32::from_le_bytes(std::array::from_fn(|i| byte(4 * lane + i))))
    }
    #[inline(always)]
    fn join_byte(self, x: Self::I, low: Self::I) -> Self::I {
        map2(x, low, |x, low| x << 8 | low & 255)
    }
    #[inline(always)]
    fn shift_byte(self, x: Self::I) -> Self::I {
        x.map(|x| (x as u32 >> 8) as i32)
    }
    #[inline(always)]
    fn dot_bytes(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let dot = |a: i32, b: i32| {
            let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            products
                .map(|(a, b)| i32::from(a) * i32::from(b as i8))
                .sum()
        };
        self.add_i32(sum, map2(a, b, dot))
    }
    #[inline(always)]
    fn nibbles<const HIGH: bool>(self, x: Self::I) -> Self::I {
        x.map(|x| (x >> if HIGH { 4 } else { 0 }) & 0x0f0f_0f0f)
    }
    /// In steps of 1/64: a table has the fraction of a bit, a shift does whole ones.
    #[inline(always)]
    fn byte_powers(self, x: [Self::F; 4]) -> Self::I {
        self.join_bytes(x.map(|x| {
            x.map(|x| {
                let steps = (x * 64.0).round_ties_even().clamp(0.0, 65_535.0) as usize;
                let power = u32::from(POWERS[steps % 64]) >> (steps / 64).min(31);
                ((power + 128) >> 8) as i32
            })
        }))
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    fn prefetch_read(self, _: *const u8) {}
}
