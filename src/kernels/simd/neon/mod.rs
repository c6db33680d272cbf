//! NEON, alone or with `dotprod` or with `i8mm`: a vector is four registers of 4 lanes.

#![expect(unsafe_code, reason = "intrinsics, behind a token that proves them")]

mod dot;

use std::arch::aarch64::*;
use std::array::from_fn;

use super::{LANES, POWERS, Simd, Task};

/// What multiplies bytes.
const WIDENING: u8 = 0;
const DOT: u8 = 1;
const I8MM: u8 = 2;

/// Exists only inside the `enter` of its kind.
#[derive(Clone, Copy)]
pub struct Neon<const BYTES: u8>(());

/// Runs `task` with NEON.
#[target_feature(enable = "neon")]
pub fn enter<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Neon::<WIDENING>(()))
}

/// Runs `task` with NEON and `dotprod`.
#[target_feature(enable = "neon,dotprod")]
pub fn enter_dot<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Neon::<DOT>(()))
}

/// Runs `task` with NEON, `dotprod` and `i8mm`.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub fn enter_i8mm<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Neon::<I8MM>(()))
}

/// One expression over intrinsics that only compute.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: a `Neon` exists only where the CPU has NEON, and more if it says so.
        unsafe { $e }
    }};
}
use op;

/// The same expression of each register's number.
macro_rules! each {
    ($i:ident, $e:expr) => {
        op!([
            {
                let $i = 0;
                $e
            },
            {
                let $i = 1;
                $e
            },
            {
                let $i = 2;
                $e
            },
            {
                let $i = 3;
                $e
            },
        ])
    };
}
use each;

type Floats = [float32x4_t; 4];
type Ints = [int32x4_t; 4];

/// The low bytes of 16 lanes.
#[inline(always)]
fn low_bytes(x: Ints) -> uint8x16_t {
    op!({
        let words = [
            vuzp1q_s16(vreinterpretq_s16_s32(x[0]), vreinterpretq_s16_s32(x[1])),
            vuzp1q_s16(vreinterpretq_s16_s32(x[2]), vreinterpretq_s16_s32(x[3])),
        ];
        vuzp1q_u8(
            vreinterpretq_u8_s16(words[0]),
            vreinterpretq_u8_s16(words[1]),
        )
    })
}

/// Two sums of lanes: of those below the middle with those above, twice.
#[inline(always)]
fn halves(x: Floats, join: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> float32x4_t {
    join(join(x[0], x[2]), join(x[1], x[3]))
}

/// `255 × 2^-x` of 16 lanes as bytes. In steps of 1/64 and integers of 16 bits: a table has the fraction of a
/// bit, a shift does whole ones.
#[inline(always)]
fn byte_power(x: Floats) -> uint8x16_t {
    let [low, high] = [0, 8].map(|shift| {
        let bytes: [u8; 64] = const_bytes(shift);
        // SAFETY: the instruction exists; 64 bytes may be read.
        unsafe { vld1q_u8_x4(bytes.as_ptr()) }
    });
    op!({
        let unit = |i: usize| vqmovn_u32(vcvtnq_u32_f32(vmulq_n_f32(x[i], 64.0)));
        let steps = [
            vcombine_u16(unit(0), unit(1)),
            vcombine_u16(unit(2), unit(3)),
        ];
        let fraction = vcombine_u8(vmovn_u16(steps[0]), vmovn_u16(steps[1]));
        let fraction = vandq_u8(fraction, vdupq_n_u8(63));
        let (low, high) = (vqtbl4q_u8(low, fraction), vqtbl4q_u8(high, fraction));
        let power = [vzip1q_u8(low, high), vzip2q_u8(low, high)];
        let byte = |i: usize| {
            let bits = vminq_u16(vshrq_n_u16::<6>(steps[i]), vdupq_n_u16(31));
            let right = vnegq_s16(vreinterpretq_s16_u16(bits));
            vrshrn_n_u16::<8>(vshlq_u16(vreinterpretq_u16_u8(power[i]), right))
        };
        vcombine_u8(byte(0), byte(1))
    })
}

/// A byte of each of [`POWERS`].
const fn const_bytes(shift: u32) -> [u8; 64] {
    let (mut bytes, mut i) = ([0; 64], 0);
    while i < 64 {
        bytes[i] = (POWERS[i] >> shift) as u8;
        i += 1;
    }
    bytes
}

impl<const BYTES: u8> Simd for Neon<BYTES> {
    type F = Floats;
    type I = Ints;
    type Mask = [uint32x4_t; 4];
    type Bytes = [int8x16_t; 4];
    type Words = uint32x4_t;
    const WORDS: usize = 4;
    const MIXED_SIGNS: bool = BYTES == I8MM;
    const TILE_VECTORS: usize = 1;
    /// 20 sums, 5 rows' words and 4 registers of weights are 29 of 32; a sixth row would not fit. Without
    /// `dotprod` a product of bytes needs registers in between.
    const TILE_ROWS: usize = if BYTES == WIDENING { 4 } else { 5 };
    const TILE_LEFT: usize = 4;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Floats {
        op!([vdupq_n_f32(x); 4])
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Floats {
        // SAFETY: the instruction exists; four floats may be read at each fourth of `from`.
        each!(i, vld1q_f32(from.as_ptr().add(4 * i)))
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Floats {
        // SAFETY: the instruction exists; 16 halves may be read at `from`.
        let x = unsafe { vld1q_u16_x2(from.as_ptr()) };
        op!({
            let half = |x| vcvt_f32_f16(vreinterpret_f16_u16(x));
            [
                half(vget_low_u16(x.0)),
                half(vget_high_u16(x.0)),
                half(vget_low_u16(x.1)),
                half(vget_high_u16(x.1)),
            ]
        })
    }
    #[inline(always)]
    fn store(self, x: Floats, to: &mut [f32; LANES]) {
        // SAFETY: the instruction exists; four floats may be written at each fourth of `to`.
        each!(i, vst1q_f32(to.as_mut_ptr().add(4 * i), x[i]));
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        each!(i, vaddq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn sub(self, a: Floats, b: Floats) -> Floats {
        each!(i, vsubq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        each!(i, vmulq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn div(self, a: Floats, b: Floats) -> Floats {
        each!(i, vdivq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn fma(self, a: Floats, b: Floats, c: Floats) -> Floats {
        each!(i, vfmaq_f32(c[i], a[i], b[i]))
    }
    #[inline(always)]
    fn min(self, a: Floats, b: Floats) -> Floats {
        each!(i, vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]))
    }
    #[inline(always)]
    fn max(self, a: Floats, b: Floats) -> Floats {
        each!(i, vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]))
    }
    #[inline(always)]
    fn less(self, a: Floats, b: Floats) -> Self::Mask {
        each!(i, vcltq_f32(a[i], b[i]))
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, yes: Floats, no: Floats) -> Floats {
        each!(i, vbslq_f32(mask[i], yes[i], no[i]))
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::Mask {
        let lanes: [[u32; 4]; 4] = from_fn(|i| from_fn(|lane| 1 << (4 * i + lane)));
        // SAFETY: the instructions exist; four words may be read at each `lanes`.
        lanes.map(|lanes| unsafe {
            vtstq_u32(vdupq_n_u32(u32::from(bits)), vld1q_u32(lanes.as_ptr()))
        })
    }
    /// The instruction has another answer where there is no nearest integer.
    #[inline(always)]
    fn round(self, x: Floats) -> Ints {
        each!(i, {
            let fits = vcltq_f32(x[i], vdupq_n_f32(2_147_483_648.0));
            vbslq_s32(fits, vcvtnq_s32_f32(x[i]), vdupq_n_s32(i32::MIN))
        })
    }
    #[inline(always)]
    fn float(self, x: Ints) -> Floats {
        each!(i, vcvtq_f32_s32(x[i]))
    }
    #[inline(always)]
    fn exponent(self, x: Ints) -> Floats {
        each!(i, vreinterpretq_f32_s32(vshlq_n_s32::<23>(x[i])))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Ints {
        op!([vdupq_n_s32(x); 4])
    }
    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Ints {
        // SAFETY: the instruction exists; four integers may be read at each fourth of `from`.
        each!(i, vld1q_s32(from.as_ptr().add(4 * i)))
    }
    #[inline(always)]
    fn add_i32(self, a: Ints, b: Ints) -> Ints {
        each!(i, vaddq_s32(a[i], b[i]))
    }
    #[inline(always)]
    fn sub_i32(self, a: Ints, b: Ints) -> Ints {
        each!(i, vsubq_s32(a[i], b[i]))
    }
    #[inline(always)]
    fn mul_i32(self, a: Ints, b: Ints) -> Ints {
        each!(i, vmulq_s32(a[i], b[i]))
    }
    #[inline(always)]
    fn store_i32(self, x: Ints, to: &mut [i32; LANES]) {
        // SAFETY: the instruction exists; four integers may be written at each fourth of `to`.
        each!(i, vst1q_s32(to.as_mut_ptr().add(4 * i), x[i]));
    }
    #[inline(always)]
    fn store_u8(self, x: Ints, to: &mut [u8; LANES]) {
        let bytes = op!({
            let half = |a, b| vqmovn_u16(vcombine_u16(vqmovun_s32(a), vqmovun_s32(b)));
            vcombine_u8(half(x[0], x[1]), half(x[2], x[3]))
        });
        // SAFETY: the instruction exists; 16 bytes may be written at `to`.
        unsafe { vst1q_u8(to.as_mut_ptr(), bytes) }
    }
    #[inline(always)]
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes {
        // SAFETY: the instruction exists; 16 bytes may be read at each fourth of `from`.
        each!(i, vld1q_s8(from.as_ptr().add(16 * i)))
    }
    #[inline(always)]
    fn dot4(self, sum: Ints, x: uint32x4_t, lane: usize, signed: Self::Bytes) -> Ints {
        match BYTES {
            WIDENING => dot::widening_signed(sum, self.word(x, lane)[0], signed),
            DOT => dot::sdot(sum, signed, x, lane),
            _ => dot::sudot(sum, signed, x, lane),
        }
    }
    #[inline(always)]
    fn words(self, from: &[u32], at: usize) -> uint32x4_t {
        let from: &[u32; 4] = from[at..].first_chunk().expect("four words");
        // SAFETY: the instruction exists; four words may be read at `from`.
        unsafe { vld1q_u32(from.as_ptr()) }
    }
    #[inline(always)]
    fn word(self, words: uint32x4_t, lane: usize) -> Ints {
        op!({
            let words = vreinterpretq_s32_u32(words);
            let word = match lane {
                0 => vdupq_laneq_s32::<0>(words),
                1 => vdupq_laneq_s32::<1>(words),
                2 => vdupq_laneq_s32::<2>(words),
                _ => vdupq_laneq_s32::<3>(words),
            };
            [word; 4]
        })
    }
    #[inline(always)]
    fn fma_word(self, a: uint32x4_t, lane: usize, b: Floats, c: Floats) -> Floats {
        dot::fmla(c, b, a, lane)
    }
    #[inline(always)]
    fn fraction(self, x: Floats) -> Floats {
        each!(i, vsubq_f32(x[i], vrndmq_f32(x[i])))
    }
    #[inline(always)]
    fn scale(self, x: Floats, n: Floats) -> Floats {
        let n = self.max(n, self.splat(-127.0));
        each!(i, {
            let n = vaddq_s32(vcvtmq_s32_f32(n[i]), vdupq_n_s32(127));
            vmulq_f32(x[i], vreinterpretq_f32_s32(vshlq_n_s32::<23>(n)))
        })
    }
    #[inline(always)]
    fn store_low_bytes(self, x: Ints, to: &mut [u8; LANES]) {
        // SAFETY: the instruction exists; 16 bytes may be written at `to`.
        unsafe { vst1q_u8(to.as_mut_ptr(), low_bytes(x)) }
    }
    #[inline(always)]
    fn join_bytes(self, x: [Ints; 4]) -> Ints {
        each!(i, vreinterpretq_s32_u8(low_bytes(x[i])))
    }
    #[inline(always)]
    fn byte_powers(self, x: [Floats; 4]) -> Ints {
        each!(i, vreinterpretq_s32_u8(byte_power(x[i])))
    }
    #[inline(always)]
    fn join_byte(self, x: Ints, low: Ints) -> Ints {
        each!(i, vsliq_n_s32::<8>(low[i], x[i]))
    }
    #[inline(always)]
    fn shift_byte(self, x: Ints) -> Ints {
        each!(
            i,
            vreinterpretq_s32_u32(vshrq_n_u32::<8>(vreinterpretq_u32_s32(x[i])))
        )
    }
    #[inline(always)]
    fn dot_bytes(self, sum: Ints, a: Ints, b: Ints) -> Ints {
        dot::widening_mixed(sum, a, b)
    }
    #[inline(always)]
    fn dot_signed(self, sum: Ints, words: uint32x4_t, lane: usize, b: Ints) -> Ints {
        match BYTES {
            WIDENING => {
                let b = each!(i, vreinterpretq_s8_s32(b[i]));
                dot::widening_signed(sum, self.word(words, lane)[0], b)
            }
            DOT => dot::sdot(sum, b, words, lane),
            _ => dot::usdot(sum, b, words, lane),
        }
    }
    #[inline(always)]
    fn dot_unsigned(self, sum: Ints, words: uint32x4_t, lane: usize, b: Ints) -> Ints {
        match BYTES {
            WIDENING => dot::widening_unsigned(sum, self.word(words, lane)[0], b),
            DOT => dot::udot(sum, b, words, lane),
            _ => dot::sudot(sum, b, words, lane),
        }
    }
    #[inline(always)]
    fn nibbles<const HIGH: bool>(self, x: Ints) -> Ints {
        each!(i, {
            let x = vreinterpretq_u8_s32(x[i]);
            let x = if HIGH {
                vshrq_n_u8::<4>(x)
            } else {
                vandq_u8(x, vdupq_n_u8(15))
            };
            vreinterpretq_s32_u8(x)
        })
    }
    #[inline(always)]
    fn of_one_sign(self, bytes: Ints) -> Ints {
        if Self::MIXED_SIGNS {
            return bytes;
        }
        each!(i, {
            let flipped = veorq_u8(vreinterpretq_u8_s32(bytes[i]), vdupq_n_u8(128));
            vreinterpretq_s32_u8(flipped)
        })
    }
    #[inline(always)]
    fn total(self, x: Floats) -> f32 {
        let x = halves(x, |a, b| op!(vaddq_f32(a, b)));
        op!({
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(vpadd_f32(x, x))
        })
    }
    #[inline(always)]
    fn largest(self, x: Floats) -> f32 {
        op!(vmaxnmvq_f32(halves(x, |a, b| vmaxnmq_f32(a, b))))
    }
    #[inline(always)]
    fn smallest(self, x: Floats) -> f32 {
        op!(vminnmvq_f32(halves(x, |a, b| vminnmq_f32(a, b))))
    }
    #[inline(always)]
    fn prefetch(self, place: *const f32) {
        dot::prefetch_write(place.cast());
    }
    #[inline(always)]
    fn prefetch_read(self, place: *const u8) {
        dot::prefetch_read(place);
    }
}
