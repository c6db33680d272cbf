//! Sixteen numbers at a time, on whatever the CPU has.
//!
//! [`Simd`] is the smallest set of vector operations that the kernels need, all of them: linear layers,
//! attention, norms, ranking. It is always 16 lanes wide (one AVX-512 register, two AVX2 registers, an
//! array), so that an algorithm written over it rounds in the same order everywhere: **every level gives the
//! same bytes**. What differs between
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
#[cfg(target_arch = "aarch64")]
mod neon;
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
    /// [`Simd::WORDS`] words, each to be broadcast.
    type Words: Copy;
    /// Words that are read at once to be broadcast one by one: 4 where an instruction takes a lane of a
    /// register for all lanes, else 1.
    const WORDS: usize;
    /// Whether an instruction multiplies unsigned bytes by signed ones. Where none does, one side of a product
    /// is stored 128 off ([`Simd::of_one_sign`]), and sums start where that is taken back.
    const MIXED_SIGNS: bool;
    /// Vectors of outputs of a linear layer's micro-kernel, 1 or 2.
    const TILE_VECTORS: usize;
    /// Rows of that micro-kernel, whose sums fit the registers.
    const TILE_ROWS: usize;
    /// Left rows of attention's micro-kernel, 4 or 6.
    const TILE_LEFT: usize;
    /// Vectors of columns of that micro-kernel, whose sums fit the registers.
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
    /// Reads 16 × 4 bytes from -127 to 127.
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes;
    /// Per lane: `sum` + the products of its four signed bytes with the four bytes of a word of `x` (first
    /// byte lowest), exact. The bytes of `x` are unsigned; without [`Simd::MIXED_SIGNS`] signed.
    fn dot4(self, sum: Self::I, x: Self::Words, lane: usize, signed: Self::Bytes) -> Self::I;
    /// Reads [`Simd::WORDS`] words of a slice, which panics if it ends before.
    fn words(self, from: &[u32], at: usize) -> Self::Words;
    /// Every lane the word `lane`.
    fn word(self, words: Self::Words, lane: usize) -> Self::I;
    /// Float `a`, the word `lane`, times `b`, plus `c`, rounded once.
    fn fma_word(self, a: Self::Words, lane: usize, b: Self::F, c: Self::F) -> Self::F;

    /// `x` less its floor.
    fn fraction(self, x: Self::F) -> Self::F;
    /// `x × 2^floor(n)`; where that is below the smallest normal number, levels may give 0 or what there is.
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
    /// Per lane: `sum` + the products of the four signed bytes of a word (from -127) with those of `b`, which
    /// come from [`Simd::of_one_sign`] of unsigned ones, exact.
    #[inline(always)]
    fn dot_signed(self, sum: Self::I, words: Self::Words, lane: usize, b: Self::I) -> Self::I {
        self.dot_bytes(sum, b, self.word(words, lane))
    }
    /// Per lane: `sum` + the products of the four unsigned bytes of a word with those of `b`, which come from
    /// [`Simd::of_one_sign`] of signed ones, exact.
    #[inline(always)]
    fn dot_unsigned(self, sum: Self::I, words: Self::Words, lane: usize, b: Self::I) -> Self::I {
        self.dot_bytes(sum, self.word(words, lane), b)
    }
    /// Without [`Simd::MIXED_SIGNS`], bytes 128 off: unsigned ones become signed less 128, signed ones
    /// unsigned plus 128. Else as they are.
    #[inline(always)]
    fn of_one_sign(self, bytes: Self::I) -> Self::I {
        bytes
    }

    /// The halves of all bytes, low or high.
    fn nibbles<const HIGH: bool>(self, x: Self::I) -> Self::I;
    /// Per lane: `sum` + the products of the four signed bytes of a word (from -127) with those of `b`, 0 to 15,
    /// exact.
    #[inline(always)]
    fn dot_nibbles(self, sum: Self::I, words: Self::Words, lane: usize, b: Self::I) -> Self::I {
        self.dot_signed(sum, words, lane, b)
    }

    /// `255 × 2^-x` as bytes, joined as [`Simd::join_bytes`] does: `x` in steps of 1/64, by a table.
    fn byte_powers(self, x: [Self::F; 4]) -> Self::I;

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

/// The words of a level that has no multiplication by a lane: each is broadcast by itself.
macro_rules! one_word_at_a_time {
    () => {
        type Words = u32;
        const WORDS: usize = 1;

        #[inline(always)]
        fn words(self, from: &[u32], at: usize) -> u32 {
            from[at]
        }
        #[inline(always)]
        fn word(self, word: u32, _: usize) -> Self::I {
            self.splat_i32(word as i32)
        }
        #[inline(always)]
        fn fma_word(self, a: u32, _: usize, b: Self::F, c: Self::F) -> Self::F {
            self.fma(self.splat(f32::from_bits(a)), b, c)
        }
    };
}
use one_word_at_a_time;

/// Repeats `$body` for each word `$lane` that the level `$s` reads at once, written out: a lane is part of
/// an instruction.
macro_rules! each_word {
    ($s:ty, $lane:ident, $body:block) => {
        $crate::kernels::simd::each_word!(@ $s, $lane, $body, 0 1 2 3)
    };
    (@ $s:ty, $lane:ident, $body:block, $($n:literal)+) => {
        $(if $n < <$s>::WORDS {
            let $lane = $n;
            $body
        })+
    };
}
pub(super) use each_word;

/// `255 × 2^(8 - i ÷ 64)`: what [`Simd::byte_powers`] shifts by whole bits.
const POWERS: [u16; 64] = [
    65_280, 64_577, 63_881, 63_193, 62_512, 61_839, 61_173, 60_514, 59_862, 59_217, 58_579, 57_948,
    57_324, 56_707, 56_096, 55_491, 54_894, 54_302, 53_717, 53_139, 52_566, 52_000, 51_440, 50_886,
    50_338, 49_796, 49_259, 48_729, 48_204, 47_684, 47_171, 46_663, 46_160, 45_663, 45_171, 44_684,
    44_203, 43_727, 43_256, 42_790, 42_329, 41_873, 41_422, 40_976, 40_534, 40_098, 39_666, 39_238,
    38_816, 38_398, 37_984, 37_575, 37_170, 36_770, 36_374, 35_982, 35_594, 35_211, 34_831, 34_456,
    34_085, 33_718, 33_355, 32_995,
];

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
        // SAFETY: a `SimdLevel` exists only for instruction sets that this CPU has.
        Isa::Avx2 => unsafe { avx2::enter(task) },
        // SAFETY: as above.
        Isa::Avx512 => unsafe { avx512::enter(task) },
        // SAFETY: as above.
        Isa::Avx512Vnni => unsafe { avx512::enter_vnni(task) },
        _ => task.run(scalar::Scalar),
    }
}

/// Runs `task` with the instructions of `level`.
#[cfg(target_arch = "aarch64")]
pub fn dispatch<Out, T: Task<Out>>(level: SimdLevel, task: T) -> Out {
    match level.isa() {
        // SAFETY: a `SimdLevel` exists only for instruction sets that this CPU has.
        Isa::Neon => unsafe { neon::enter(task) },
        // SAFETY: as above.
        Isa::NeonDot => unsafe { neon::enter_dot(task) },
        // SAFETY: as above.
        Isa::NeonI8mm => unsafe { neon::enter_i8mm(task) },
        _ => task.run(scalar::Scalar),
    }
}

/// Runs `task` with the instructions of `level`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn dispatch<Out, T: Task<Out>>(level: SimdLevel, task: T) -> Out {
    debug_assert_eq!(level.isa(), Isa::Scalar);
    task.run(scalar::Scalar)
}

#[cfg(test)]
pub(super) mod tests;
