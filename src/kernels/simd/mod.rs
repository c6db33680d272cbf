//! Sixteen numbers at a time, on whatever the CPU has.
//!
//! [`Simd`] is the smallest set of vector operations that the kernels need, all of them: linear layers,
//! attention, norms, ranking. It is always 16 lanes wide (one AVX-512 register, two AVX2 registers, an
//! array), so that an algorithm written over it rounds in the same order everywhere: **every level gives the
//! same bytes**. Attention alone takes two shortcuts of a level's own ([`Simd::byte_powers`],
//! [`Simd::scale`]) and may differ in the last place. What differs between
//! levels is how many such vectors fit the registers beside each other ([`Simd::TILE_ROWS`],
//! [`Simd::TILE_COLUMNS`]). A value that implements it proves that the CPU has the instructions: only
//! [`dispatch`] hands one out. Another instruction set is one more file beside `avx2`, and a line there.
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
    /// Rows of a linear layer's micro-kernel, 2 vectors wide, whose sums fit the registers.
    const TILE_ROWS: usize;
    /// Vectors of columns of attention's micro-kernel, six left rows high, whose sums fit the registers.
    const TILE_COLUMNS: usize;

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
    /// Writes 16 integers.
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]);
    /// Writes 16 integers as bytes, clamped to 0 … 255.
    fn store_u8(self, x: Self::I, to: &mut [u8; LANES]);
    /// Reads 16 × 4 signed bytes.
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes;
    /// Per lane: `sum` + the products of its four signed bytes with the four unsigned bytes of `x`
    /// (every lane of `x` the same, first byte lowest), exact.
    fn dot4(self, sum: Self::I, x: Self::I, signed: Self::Bytes) -> Self::I;

    /// `x` less its floor.
    fn fraction(self, x: Self::F) -> Self::F;
    /// `x × 2^floor(n)`; 0 where `n` is far below -127.
    fn scale(self, x: Self::F, n: Self::F) -> Self::F;
    /// Writes the low byte of each lane.
    fn store_low_bytes(self, x: Self::I, to: &mut [u8; LANES]);
    /// The low bytes of four vectors whose lanes hold 0 ..= 255, four neighbours in a lane.
    fn join_bytes(self, x: [Self::I; 4]) -> Self::I;
    /// Moves each lane of `x` up by a byte and puts the low byte of `low` below it.
    fn join_byte(self, x: Self::I, low: Self::I) -> Self::I;
    /// The upper 24 bits of each lane, moved down by a byte.
    fn shift_byte(self, x: Self::I) -> Self::I;
    /// Per lane: `sum` + the products of the four unsigned bytes of `a` with the four signed bytes of `b`,
    /// exact. Unlike [`Simd::dot4`] neither side is made ready.
    fn dot_bytes(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// `255 × 2^-x` as bytes, joined as [`Simd::join_bytes`] does. To a byte's precision: levels may differ by
    /// one.
    #[inline(always)]
    fn byte_powers(self, x: [Self::F; 4]) -> Self::I {
        // log2 of 255.
        let top = self.splat(7.994_353_5);
        let mut words = [self.splat_i32(0); 4];
        for (word, x) in words.iter_mut().zip(x) {
            *word = self.round(math::exp2_coarse(self, self.sub(top, x)));
        }
        self.join_bytes(words)
    }

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

    /// Reads the first 16 floats of a slice, which panics if it is shorter.
    #[inline(always)]
    fn load_first(self, from: &[f32]) -> Self::F {
        self.load(from.first_chunk().expect("a whole vector"))
    }

    /// Writes the first 16 floats of a slice, which panics if it is shorter.
    #[inline(always)]
    fn store_first(self, x: Self::F, to: &mut [f32]) {
        self.store(x, to.first_chunk_mut().expect("a whole vector"));
    }

    /// Reads the first 16 words of a slice, which panics if it is shorter.
    #[inline(always)]
    fn load_words(self, from: &[u32]) -> Self::I {
        let words: &[u32; LANES] = from.first_chunk().expect("a whole vector");
        self.load_i32(bytemuck::cast_ref(words))
    }

    /// Writes 16 integers.
    #[inline(always)]
    fn store_words(self, x: Self::I, to: &mut [u32]) {
        let words: &mut [u32; LANES] = to.first_chunk_mut().expect("a whole vector");
        self.store_i32(x, bytemuck::cast_mut(words));
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
