//! Products with a word for all lanes, and hints, in assembly: stable Rust has no intrinsics for those of bytes;
//! for those of floats it has, but what the compiler makes of them runs out of registers.

#![expect(unsafe_code, reason = "instructions, behind a token that proves them")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Floats, Ints, each, op};

/// `$name(sum, a, words, lane)`: `sum` + the products of each lane's four bytes of `a` with those of a word.
macro_rules! by_lane {
    ($(#[$doc:meta])* $name:ident, $sum:ty, $a:literal, $word:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<A: Register>(sum: $sum, a: [A; 4], words: uint32x4_t, lane: usize) -> $sum {
            match lane {
                0 => by_lane!(@ $name, sum, a, words, $a, $word, "[0]"),
                1 => by_lane!(@ $name, sum, a, words, $a, $word, "[1]"),
                2 => by_lane!(@ $name, sum, a, words, $a, $word, "[2]"),
                _ => by_lane!(@ $name, sum, a, words, $a, $word, "[3]"),
            }
        }
    };
    (@ $name:ident, $sum:ident, $from:ident, $words:ident, $a:literal, $word:literal, $lane:literal) => {
        each!(i, {
            let mut sum = $sum[i];
            let a = $from[i].bits();
            // Registers in and out, nothing else. A `Neon` of the kind that calls this proves the instruction.
            asm!(
                concat!(stringify!($name), " {sum:v}.4s, {a:v}", $a, ", {words:v}", $word, $lane),
                sum = inout(vreg) sum,
                a = in(vreg) a,
                words = in(vreg) $words,
                options(pure, nomem, nostack, preserves_flags),
            );
            sum
        })
    };
}

by_lane! {
    /// Signed bytes by signed ones.
    sdot, Ints, ".16b", ".4b"
}
by_lane! {
    /// Unsigned bytes by unsigned ones.
    udot, Ints, ".16b", ".4b"
}
by_lane! {
    /// Unsigned bytes by the word's signed ones.
    usdot, Ints, ".16b", ".4b"
}
by_lane! {
    /// Signed bytes by the word's unsigned ones.
    sudot, Ints, ".16b", ".4b"
}

by_lane! {
    /// Floats, rounded once.
    fmla, Floats, ".4s", ".s"
}

/// A register of whatever numbers.
pub trait Register: Copy {
    fn bits(self) -> int8x16_t;
}

impl Register for int8x16_t {
    #[inline(always)]
    fn bits(self) -> int8x16_t {
        self
    }
}

impl Register for float32x4_t {
    #[inline(always)]
    fn bits(self) -> int8x16_t {
        op!(vreinterpretq_s8_f32(self))
    }
}

impl Register for int32x4_t {
    #[inline(always)]
    fn bits(self) -> int8x16_t {
        op!(vreinterpretq_s8_s32(self))
    }
}

/// Signed bytes by signed ones. Two neighbours' products fit 16 bits, as one side has no -128.
#[inline(always)]
pub fn widening_signed(sum: Ints, word: int32x4_t, signed: [int8x16_t; 4]) -> Ints {
    each!(i, {
        let mut sum = sum[i];
        // Registers in and out, nothing else; every NEON has the instructions. In one piece, or the compiler
        // computes more of them ahead than there are registers.
        asm!(
            "smull {low:v}.8h, {a:v}.8b, {word:v}.8b",
            "smull2 {high:v}.8h, {a:v}.16b, {word:v}.16b",
            "addp {low:v}.8h, {low:v}.8h, {high:v}.8h",
            "sadalp {sum:v}.4s, {low:v}.8h",
            sum = inout(vreg) sum,
            a = in(vreg) signed[i],
            word = in(vreg) word,
            low = out(vreg) _,
            high = out(vreg) _,
            options(pure, nomem, nostack, preserves_flags),
        );
        sum
    })
}

/// Unsigned bytes by unsigned ones.
#[inline(always)]
pub fn widening_unsigned(sum: Ints, word: int32x4_t, b: Ints) -> Ints {
    each!(i, {
        let mut sum = sum[i];
        // As above.
        asm!(
            "umull {low:v}.8h, {b:v}.8b, {word:v}.8b",
            "umull2 {high:v}.8h, {b:v}.16b, {word:v}.16b",
            "uaddlp {low:v}.4s, {low:v}.8h",
            "uaddlp {high:v}.4s, {high:v}.8h",
            "addp {low:v}.4s, {low:v}.4s, {high:v}.4s",
            "add {sum:v}.4s, {sum:v}.4s, {low:v}.4s",
            sum = inout(vreg) sum,
            b = in(vreg) b[i],
            word = in(vreg) word,
            low = out(vreg) _,
            high = out(vreg) _,
            options(pure, nomem, nostack, preserves_flags),
        );
        sum
    })
}

/// Unsigned bytes of `a` by signed ones of `b`.
#[inline(always)]
pub fn widening_mixed(sum: Ints, a: Ints, b: Ints) -> Ints {
    each!(i, {
        let (a, b) = (vreinterpretq_u8_s32(a[i]), vreinterpretq_s8_s32(b[i]));
        let quarter = |a: uint8x8_t, b: int8x8_t| {
            let (a, b) = (vreinterpretq_s16_u16(vmovl_u8(a)), vmovl_s8(b));
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            vpaddq_s32(low, vmull_high_s16(a, b))
        };
        let low = quarter(vget_low_u8(a), vget_low_s8(b));
        let high = quarter(vget_high_u8(a), vget_high_s8(b));
        vaddq_s32(sum[i], vpaddq_s32(low, high))
    })
}

/// Asks for a cache line that will be written.
#[inline(always)]
pub fn prefetch_write(place: *const u8) {
    // SAFETY: a hint never faults, wherever `place` is, and changes nothing that a program sees.
    unsafe {
        asm!("prfm pstl1keep, [{}]", in(reg) place, options(nomem, nostack, preserves_flags));
    }
}

/// Asks for a cache line that will be read.
#[inline(always)]
pub fn prefetch_read(place: *const u8) {
    // SAFETY: a hint never faults, wherever `place` is, and changes nothing that a program sees.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) place, options(nomem, nostack, preserves_flags));
    }
}
