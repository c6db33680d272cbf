//! AVX2, FMA and F16C: a vector is two registers of 8 lanes.

#![expect(unsafe_code, reason = "intrinsics, behind a token that proves them")]

use std::arch::x86_64::*;

use super::{LANES, POWERS, Simd, Task};

/// Exists only inside [`enter`].
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Runs `task` with AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn enter<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Avx2(()))
}

/// One expression over intrinsics that only compute.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: an `Avx2` exists only where the CPU has AVX2, FMA and F16C.
        unsafe { $e }
    }};
}

/// The same intrinsic on both halves.
macro_rules! both {
    ($f:ident($a:expr)) => {
        op!([$f($a[0]), $f($a[1])])
    };
    ($f:ident($a:expr, $b:expr)) => {
        op!([$f($a[0], $b[0]), $f($a[1], $b[1])])
    };
    ($f:ident($a:expr, $b:expr, $c:expr)) => {
        op!([$f($a[0], $b[0], $c[0]), $f($a[1], $b[1], $c[1])])
    };
}

/// A byte of each of [`POWERS`], sixteen to a table, each table in both halves of a register.
const fn table(shift: u32) -> [[u8; 32]; 4] {
    let (mut tables, mut i) = ([[0; 32]; 4], 0);
    while i < 64 {
        let byte = (POWERS[i] >> shift) as u8;
        tables[i / 16][i % 16] = byte;
        tables[i / 16][i % 16 + 16] = byte;
        i += 1;
    }
    tables
}

const LOW: [[u8; 32]; 4] = table(0);
const HIGH: [[u8; 32]; 4] = table(8);
/// The high byte of `2^(16 - n)`, as far as it matters: a shift by nine leaves nothing of a byte.
const SHIFT: [u8; 32] = [
    0, 128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0,
    0, 0, 0, 0,
];

#[inline(always)]
fn load_table(table: &[u8; 32]) -> __m256i {
    // SAFETY: the instruction exists; 32 bytes may be read.
    unsafe { _mm256_loadu_si256(table.as_ptr().cast()) }
}

/// Bytes of a table of 64, which `index` names.
#[inline(always)]
fn look_up(tables: &[[u8; 32]; 4], index: __m256i) -> __m256i {
    op!({
        let part = |i: usize| _mm256_shuffle_epi8(load_table(&tables[i]), index);
        let bit_4 = _mm256_slli_epi16::<3>(index);
        let bit_5 = _mm256_slli_epi16::<2>(index);
        let below = _mm256_blendv_epi8(part(0), part(1), bit_4);
        let above = _mm256_blendv_epi8(part(2), part(3), bit_4);
        _mm256_blendv_epi8(below, above, bit_5)
    })
}

/// `power >> n`, rounded to the upper byte.
#[inline(always)]
fn upper_byte(power: __m256i, n: __m256i) -> __m256i {
    op!({
        let index = _mm256_slli_epi16::<8>(_mm256_min_epi16(n, _mm256_set1_epi16(15)));
        let index = _mm256_or_si256(index, _mm256_set1_epi16(128));
        let factor = _mm256_shuffle_epi8(load_table(&SHIFT), index);
        let shifted = _mm256_mulhi_epu16(power, factor);
        let whole = _mm256_and_si256(power, _mm256_cmpeq_epi16(n, _mm256_setzero_si256()));
        let shifted = _mm256_or_si256(shifted, whole);
        _mm256_srli_epi16::<8>(_mm256_add_epi16(shifted, _mm256_set1_epi16(128)))
    })
}

/// `255 × 2^-x` of two vectors, four of each in turn. In steps of 1/64 and integers of 16 bits: a table has
/// the fraction of a bit, a product does whole ones.
#[inline(always)]
fn byte_power(a: [__m256; 2], b: [__m256; 2]) -> __m256i {
    op!({
        let steps = |x: [__m256; 2]| {
            let unit = _mm256_set1_ps(64.0);
            let low = _mm256_cvtps_epi32(_mm256_mul_ps(x[0], unit));
            _mm256_packus_epi32(low, _mm256_cvtps_epi32(_mm256_mul_ps(x[1], unit)))
        };
        let (a, b) = (steps(a), steps(b));
        let fraction = |steps| _mm256_and_si256(steps, _mm256_set1_epi16(63));
        let index = _mm256_packus_epi16(fraction(a), fraction(b));
        let (low, high) = (look_up(&LOW, index), look_up(&HIGH, index));
        _mm256_packus_epi16(
            upper_byte(_mm256_unpacklo_epi8(low, high), _mm256_srli_epi16::<6>(a)),
            upper_byte(_mm256_unpackhi_epi8(low, high), _mm256_srli_epi16::<6>(b)),
        )
    })
}

/// Packing two vectors takes four of each in turn; this puts one after the other.
#[inline(always)]
fn in_order(mixed: __m256i) -> __m256i {
    op!(_mm256_permutevar8x32_epi32(
        mixed,
        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)
    ))
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type Mask = [__m256; 2];
    /// Per half: bytes 0 and 2 of each lane as 16-bit pairs, then bytes 1 and 3.
    type Bytes = [[__m256i; 2]; 2];
    super::one_word_at_a_time!();
    const MIXED_SIGNS: bool = true;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 3;
    const TILE_LEFT: usize = 6;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        op!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        // SAFETY: the instruction exists; 16 floats may be read at `from`.
        unsafe {
            [
                _mm256_loadu_ps(from.as_ptr()),
                _mm256_loadu_ps(from.as_ptr().add(8)),
            ]
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::F {
        let at = from.as_ptr().cast::<__m128i>();
        // SAFETY: the instructions exist; 32 bytes may be read at `from`.
        let halves = unsafe { [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))] };
        both!(_mm256_cvtph_ps(halves))
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: the instruction exists; 16 floats may be written at `to`.
        unsafe {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::Mask {
        op!([
            _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]),
            _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])
        ])
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, yes: Self::F, no: Self::F) -> Self::F {
        both!(_mm256_blendv_ps(no, yes, mask))
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::Mask {
        let half = |bits: u16| {
            op!({
                let lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), lane_bits);
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane_bits))
            })
        };
        [half(bits), half(bits >> 8)]
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::I {
        both!(_mm256_cvtps_epi32(x))
    }
    #[inline(always)]
    fn float(self, x: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn exponent(self, x: Self::I) -> Self::F {
        let bits = op!([_mm256_slli_epi32::<23>(x[0]), _mm256_slli_epi32::<23>(x[1])]);
        both!(_mm256_castsi256_ps(bits))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        op!([_mm256_set1_epi32(x); 2])
    }
    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        let at = from.as_ptr().cast::<__m256i>();
        // SAFETY: the instruction exists; 16 integers may be read at `from`.
        unsafe { [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))] }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_sub_epi32(a, b))
    }
    #[inline(always)]
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        let at = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the instruction exists; 16 integers may be written at `to`.
        unsafe {
            _mm256_storeu_si256(at, x[0]);
            _mm256_storeu_si256(at.add(1), x[1]);
        }
    }
    #[inline(always)]
    fn store_u8(self, x: Self::I, to: &mut [u8; LANES]) {
        let bytes = op!({
            // Lanes 0–3 8–11 | 4–7 12–15 after the pack within 128-bit halves: put in order.
            let words = _mm256_packus_epi32(x[0], x[1]);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            // Words are unsigned up to 65535, the next pack reads them as signed.
            let words = _mm256_min_epu16(words, _mm256_set1_epi16(255));
            _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            )
        });
        // SAFETY: the instruction exists; 16 bytes may be written at `to`.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    }
    #[inline(always)]
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes {
        let at = from.as_ptr().cast::<__m256i>();
        // SAFETY: the instruction exists; 64 bytes may be read at `from`.
        let halves = unsafe { [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))] };
        halves.map(|x| {
            op!([
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)),
                _mm256_srai_epi16::<8>(x)
            ])
        })
    }
    /// `vpmaddubsw` would saturate its 16-bit sums; widened to 16 bits first, nothing can.
    #[inline(always)]
    fn dot4(self, sum: Self::I, x: u32, _: usize, signed: Self::Bytes) -> Self::I {
        let x = self.splat_i32(x as i32);
        let half = |sum, x, [even, odd]: [__m256i; 2]| {
            op!({
                let low_bytes = _mm256_set1_epi16(255);
                let x_even = _mm256_and_si256(x, low_bytes);
                let x_odd = _mm256_srli_epi16::<8>(x);
                let products = _mm256_madd_epi16(even, x_even);
                let products = _mm256_add_epi32(products, _mm256_madd_epi16(odd, x_odd));
                _mm256_add_epi32(sum, products)
            })
        };
        [half(sum[0], x[0], signed[0]), half(sum[1], x[1], signed[1])]
    }
    #[inline(always)]
    fn fraction(self, x: Self::F) -> Self::F {
        let floor = op!([_mm256_floor_ps(x[0]), _mm256_floor_ps(x[1])]);
        both!(_mm256_sub_ps(x, floor))
    }
    #[inline(always)]
    fn scale(self, x: Self::F, n: Self::F) -> Self::F {
        let half = |x, n| {
            op!({
                let n = _mm256_floor_ps(_mm256_max_ps(n, _mm256_set1_ps(-127.0)));
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
            })
        };
        [half(x[0], n[0]), half(x[1], n[1])]
    }
    #[inline(always)]
    fn store_low_bytes(self, x: Self::I, to: &mut [u8; LANES]) {
        let mask = op!(_mm256_set1_epi32(255));
        self.store_u8(both!(_mm256_and_si256(x, [mask; 2])), to);
    }
    #[inline(always)]
    fn join_bytes(self, [a, b, c, d]: [Self::I; 4]) -> Self::I {
        let half = |a: Self::I, b: Self::I| {
            in_order(op!(_mm256_packus_epi16(
                _mm256_packus_epi32(a[0], a[1]),
                _mm256_packus_epi32(b[0], b[1])
            )))
        };
        [half(a, b), half(c, d)]
    }
    #[inline(always)]
    fn byte_powers(self, [a, b, c, d]: [Self::F; 4]) -> Self::I {
        [in_order(byte_power(a, b)), in_order(byte_power(c, d))]
    }
    #[inline(always)]
    fn join_byte(self, x: Self::I, low: Self::I) -> Self::I {
        let half = |x, low| {
            op!({
                let low = _mm256_and_si256(low, _mm256_set1_epi32(255));
                _mm256_or_si256(_mm256_slli_epi32::<8>(x), low)
            })
        };
        [half(x[0], low[0]), half(x[1], low[1])]
    }
    #[inline(always)]
    fn shift_byte(self, x: Self::I) -> Self::I {
        op!([_mm256_srli_epi32::<8>(x[0]), _mm256_srli_epi32::<8>(x[1])])
    }
    /// As [`Simd::dot4`], both sides widened here.
    #[inline(always)]
    fn dot_bytes(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        let half = |sum, a, b| {
            op!({
                let a_even = _mm256_and_si256(a, _mm256_set1_epi16(255));
                let a_odd = _mm256_srli_epi16::<8>(a);
                let b_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
                let b_odd = _mm256_srai_epi16::<8>(b);
                let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a_even, b_even));
                _mm256_add_epi32(sum, _mm256_madd_epi16(a_odd, b_odd))
            })
        };
        [half(sum[0], a[0], b[0]), half(sum[1], a[1], b[1])]
    }
    #[inline(always)]
    fn nibbles<const HIGH: bool>(self, x: Self::I) -> Self::I {
        x.map(|x| {
            let x = if HIGH {
                op!(_mm256_srli_epi32::<4>(x))
            } else {
                x
            };
            op!(_mm256_and_si256(x, _mm256_set1_epi32(0x0f0f_0f0f)))
        })
    }
    /// Two products of a nibble and a byte fit 16 bits.
    #[inline(always)]
    fn dot_nibbles(self, sum: Self::I, word: u32, _: usize, b: Self::I) -> Self::I {
        let word = op!(_mm256_set1_epi32(word as i32));
        let half = |sum, b| {
            op!({
                let pairs = _mm256_maddubs_epi16(b, word);
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            })
        };
        [half(sum[0], b[0]), half(sum[1], b[1])]
    }
    #[inline(always)]
    fn total(self, x: Self::F) -> f32 {
        op!({
            let x = _mm256_add_ps(x[0], x[1]);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        op!({
            let x = _mm256_max_ps(x[0], x[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn prefetch(self, place: *const f32) {
        // Never faults, wherever `place` is.
        op!(_mm_prefetch::<_MM_HINT_ET0>(place.cast()));
    }
    #[inline(always)]
    fn prefetch_read(self, place: *const u8) {
        // Never faults, wherever `place` is.
        op!(_mm_prefetch::<_MM_HINT_T0>(place.cast()));
    }
}
