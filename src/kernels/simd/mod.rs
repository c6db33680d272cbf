//! Sixteen numbers at a time, on whatever the CPU has.
//!
//! [`Simd`] is the smallest set of vector operations that the kernels need. It is always 16 lanes wide
//! (one AVX-512 register, two AVX2 registers, an array), so that an algorithm written over it rounds in
//! the same order everywhere: **every level gives the same bytes**. A value that implements it proves
//! that the CPU has the instructions: only [`dispatch`] hands one out.
//!
//! Whatever runs inside a [`Task`] must be `#[inline(always)]`, or it is compiled without the level's
//! instructions (correct, but slow).

#![expect(
    unsafe_code,
    reason = "vector instructions are called behind a token that proves them"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod math;
mod scalar;

use super::level::{Isa, SimdLevel};

/// Lanes of every vector.
pub const LANES: usize = 16;

/// Vector operations on 16 lanes.
///
/// Floating-point operations round as IEEE 754 says, [`Simd::fma`] once. [`Simd::min`] and
/// [`Simd::max`] return the second operand where the two are unordered.
pub trait Simd: Copy {
    /// 16 floats.
    type F: Copy;
    /// 16 integers of 32 bits; arithmetic wraps.
    type I: Copy;
    /// 16 answers of a comparison.
    type Mask: Copy;
    /// 16 × 4 signed bytes, made ready for [`Simd::dot4`].
    type Bytes: Copy;
    /// Rows of a matrix tile, 2 vectors wide, whose sums fit the registers.
    const TILE_ROWS: usize;

    /// Every lane the same.
    fn splat(self, x: f32) -> Self::F;
    /// Reads 16 floats.
    fn load(self, from: &[f32; LANES]) -> Self::F;
    /// Reads 16 half-precision floats, given as bits.
    fn load_f16(self, from: &[u16; LANES]) -> Self::F;
    /// Writes 16 floats.
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a × b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a ÷ b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a × b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// Whether `a < b`.
    fn less(self, a: Self::F, b: Self::F) -> Self::Mask;
    /// Per lane: `yes` where the mask is set, else `no`.
    fn select(self, mask: Self::Mask, yes: Self::F, no: Self::F) -> Self::F;
    /// The lanes of `bits` (lowest bit first) as a mask.
    fn mask(self, bits: u16) -> Self::Mask;
    /// The nearest integer, ties to even; `i32::MIN` where there is none.
    fn round(self, x: Self::F) -> Self::I;
    /// Integers as floats, rounded to nearest.
    fn float(self, x: Self::I) -> Self::F;
    /// The float whose bits are `x << 23`: `2^(x - 127)`.
    fn exponent(self, x: Self::I) -> Self::F;
    /// Every lane the same.
    fn splat_i32(self, x: i32) -> Self::I;
    /// Reads 16 integers.
    fn load_i32(self, from: &[i32; LANES]) -> Self::I;
    /// `a + b`
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a × b`
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// Writes 16 integers as bytes, clamped to 0 … 255.
    fn store_u8(self, x: Self::I, to: &mut [u8; LANES]);
    /// Reads 16 × 4 signed bytes.
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes;
    /// Per lane: `sum` + the products of its four signed bytes with the four unsigned bytes of `x`
    /// (every lane of `x` the same, first byte lowest), exact.
    fn dot4(self, sum: Self::I, x: Self::I, signed: Self::Bytes) -> Self::I;

    /// Asks for the cache line at `place`, which will be written soon. A hint: does nothing else.
    fn prefetch(self, place: *const f32);
    /// Asks for the cache line at `place`, which will be read soon. A hint: does nothing else.
    fn prefetch_read(self, place: *const u8);

    /// The lanes as an array.
    #[inline(always)]
    fn array(self, x: Self::F) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(x, &mut lanes);
        lanes
    }

    /// The sum of the lanes, halves added until one is left: the same order at every level.
    #[inline(always)]
    fn total(self, x: Self::F) -> f32 {
        fold(self.array(x), |a, b| a + b)
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        fold(self.array(x), f32::max)
    }

    /// The smallest lane.
    #[inline(always)]
    fn smallest(self, x: Self::F) -> f32 {
        fold(self.array(x), f32::min)
    }

    /// Reads up to 16 floats; the lanes beyond are `fill`.
    #[inline(always)]
    fn load_some(self, from: &[f32], fill: f32) -> Self::F {
        match from.first_chunk() {
            Some(full) => self.load(full),
            None => {
                let mut lanes = [fill; LANES];
                lanes[..from.len()].copy_from_slice(from);
                self.load(&lanes)
            }
        }
    }

    /// Writes the first lanes, as many as `to` holds (up to 16).
    #[inline(always)]
    fn store_some(self, x: Self::F, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(full) => self.store(x, full),
            None => {
                let count = to.len();
                to.copy_from_slice(&self.array(x)[..count]);
            }
        }
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Work that is written once, over [`Simd`].
pub trait Task<Out = ()> {
    /// Does the work. Mark it, and what it calls, `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Out;
}

/// Runs `task` with the instructions of `level`.
#[cfg(target_arch = "x86_64")]
pub fn dispatch<Out, T: Task<Out>>(level: SimdLevel, task: T) -> Out {
    match level.isa() {
        Isa::Scalar => task.run(scalar::Scalar),
        // SAFETY: a `SimdLevel` exists only for instruction sets that this CPU has.
        Isa::Avx2 => unsafe { avx2::enter(task) },
        // SAFETY: as above.
        Isa::Avx512 => unsafe { avx512::enter(task) },
        // SAFETY: as above.
        Isa::Avx512Vnni => unsafe { avx512::enter_vnni(task) },
    }
}

/// Runs `task` with the instructions of `level`.
#[cfg(not(target_arch = "x86_64"))]
pub fn dispatch<Out, T: Task<Out>>(level: SimdLevel, task: T) -> Out {
    debug_assert_eq!(level.isa(), Isa::Scalar);
    task.run(scalar::Scalar)
}

#[cfg(test)]
pub(super) mod tests;
