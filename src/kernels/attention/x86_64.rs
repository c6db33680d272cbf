//! [`Vector`] for AVX2 and AVX-512.

#![expect(
    unsafe_code,
    reason = "intrinsics of instruction sets that the CPU was probed for"
)]

use std::arch::x86_64::*;

use super::vector::Vector;

/// One intrinsic, or an expression of several that touch no memory.
macro_rules! op {
    ($body:expr) => {
        // SAFETY: only called below a function that enables these instructions, which is entered with a
        // probed level; registers only, no memory.
        unsafe { $body }
    };
}

/// A load from or a store to the first `$n` items of a slice.
macro_rules! memory {
    ($slice:expr, $n:expr, |$items:ident| $body:expr) => {{
        let $items = &$slice[..$n];
        // SAFETY: the slice just taken spans every byte that is touched, and unaligned access is allowed;
        // the instructions are enabled as in `op`.
        unsafe { $body }
    }};
    (mut $slice:expr, $n:expr, |$items:ident| $body:expr) => {{
        let $items = &mut $slice[..$n];
        // SAFETY: as above; the slice is borrowed mutably.
        unsafe { $body }
    }};
}

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl Vector for Avx2 {
    type F = __m256;
    type I = __m256i;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> __m256 {
        op!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(from: &[f32]) -> __m256 {
        memory!(from, 8, |from| _mm256_loadu_ps(from.as_ptr()))
    }
    #[inline(always)]
    fn load_f16(from: &[u16]) -> __m256 {
        memory!(from, 8, |from| _mm256_cvtph_ps(_mm_loadu_si128(
            from.as_ptr().cast()
        )))
    }
    #[inline(always)]
    fn store(x: __m256, to: &mut [f32]) {
        memory!(mut to, 8, |to| _mm256_storeu_ps(to.as_mut_ptr(), x));
    }
    #[inline(always)]
    fn store_bits(x: __m256, to: &mut [u32]) {
        memory!(mut to, 8, |to| _mm256_storeu_ps(to.as_mut_ptr().cast(), x));
    }
    #[inline(always)]
    fn store_bytes(x: __m256i, to: &mut [u32]) {
        let packed = op!({
            let lowest = _mm256_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
            );
            let halves = _mm256_shuffle_epi8(x, lowest);
            _mm_unpacklo_epi32(
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256(halves, 1),
            )
        });
        memory!(mut to, 2, |to| _mm_storel_epi64(
            to.as_mut_ptr().cast(),
            packed
        ));
    }
    #[inline(always)]
    fn add(a: __m256, b: __m256) -> __m256 {
        op!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(a: __m256, b: __m256) -> __m256 {
        op!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(a: __m256, b: __m256) -> __m256 {
        op!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn fraction(x: __m256) -> __m256 {
        op!(_mm256_sub_ps(x, _mm256_floor_ps(x)))
    }
    #[inline(always)]
    fn scale(x: __m256, n: __m256) -> __m256 {
        op!({
            let n = _mm256_floor_ps(_mm256_max_ps(n, _mm256_set1_ps(-127.0)));
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(n, 23)))
        })
    }
    #[inline(always)]
    fn sum(x: __m256) -> f32 {
        op!({
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn maximum(x: __m256) -> f32 {
        op!({
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn splat_word(x: u32) -> __m256i {
        op!(_mm256_set1_epi32(x as i32))
    }
    #[inline(always)]
    fn load_words(from: &[u32]) -> __m256i {
        memory!(from, 8, |from| _mm256_loadu_si256(from.as_ptr().cast()))
    }
    #[inline(always)]
    fn store_words(x: __m256i, to: &mut [u32]) {
        memory!(mut to, 8, |to| _mm256_storeu_si256(
            to.as_mut_ptr().cast(),
            x
        ));
    }
    #[inline(always)]
    fn join_bytes([a, b, c, d]: [__m256i; 4]) -> __m256i {
        op!({
            // Each half has its four words of each vector; put the vectors one after another.
            let mixed = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
            _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        })
    }
    #[inline(always)]
    fn join_byte(x: __m256i, low: __m256i) -> __m256i {
        op!({
            let low = _mm256_and_si256(low, _mm256_set1_epi32(255));
            _mm256_or_si256(_mm256_slli_epi32(x, 8), low)
        })
    }
    #[inline(always)]
    fn add_words(a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn shift_byte(x: __m256i) -> __m256i {
        op!(_mm256_srli_epi32(x, 8))
    }
    #[inline(always)]
    fn to_words(x: __m256) -> __m256i {
        op!(_mm256_cvtps_epi32(x))
    }
    #[inline(always)]
    fn to_floats(x: __m256i) -> __m256 {
        op!(_mm256_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn dot_bytes(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // `maddubs` would saturate; products of 16-bit halves are exact.
        op!({
            let a_even = _mm256_and_si256(a, _mm256_set1_epi16(255));
            let a_odd = _mm256_srli_epi16(a, 8);
            let b_even = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
            let b_odd = _mm256_srai_epi16(b, 8);
            let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a_even, b_even));
            _mm256_add_epi32(sum, _mm256_madd_epi16(a_odd, b_odd))
        })
    }
    #[inline(always)]
    fn prefetch<T>(place: *const T) {
        // Never faults, wherever `place` is.
        op!(_mm_prefetch::<_MM_HINT_T0>(place.cast()));
    }
}

/// `255 × 2^(8 - i ÷ 64)`.
const POWERS: [u16; 64] = [
    65_280, 64_577, 63_881, 63_193, 62_512, 61_839, 61_173, 60_514, 59_862, 59_217, 58_579, 57_948,
    57_324, 56_707, 56_096, 55_491, 54_894, 54_302, 53_717, 53_139, 52_566, 52_000, 51_440, 50_886,
    50_338, 49_796, 49_259, 48_729, 48_204, 47_684, 47_171, 46_663, 46_160, 45_663, 45_171, 44_684,
    44_203, 43_727, 43_256, 42_790, 42_329, 41_873, 41_422, 40_976, 40_534, 40_098, 39_666, 39_238,
    38_816, 38_398, 37_984, 37_575, 37_170, 36_770, 36_374, 35_982, 35_594, 35_211, 34_831, 34_456,
    34_085, 33_718, 33_355, 32_995,
];

/// `255 × 2^-x` of two vectors, a quarter of each in turn. In steps of 1/64 and integers of 16 bits: a
/// table has the fraction of a bit, a shift does whole ones.
#[inline(always)]
fn byte_power(a: __m512, b: __m512) -> __m512i {
    let (low, high) = POWERS.split_at(32);
    let low = memory!(low, 32, |low| _mm512_loadu_si512(low.as_ptr().cast()));
    let high = memory!(high, 32, |high| _mm512_loadu_si512(high.as_ptr().cast()));
    op!({
        let unit = _mm512_set1_ps(64.0);
        let a = _mm512_cvtps_epi32(_mm512_mul_ps(a, unit));
        let b = _mm512_cvtps_epi32(_mm512_mul_ps(b, unit));
        let steps = _mm512_packus_epi32(a, b);
        let fraction = _mm512_permutex2var_epi16(low, steps, high);
        let power = _mm512_srlv_epi16(fraction, _mm512_srli_epi16::<6>(steps));
        _mm512_srli_epi16::<8>(_mm512_add_epi16(power, _mm512_set1_epi16(128)))
    })
}

/// Packing four vectors takes a quarter of each in turn; this puts the vectors one after another.
#[inline(always)]
fn quarters() -> __m512i {
    op!(_mm512_setr_epi32(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
    ))
}

/// AVX-512 F, BW, DQ and VL; with `VNNI` also that, for byte products.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>;

impl<const VNNI: bool> Vector for Avx512<VNNI> {
    type F = __m512;
    type I = __m512i;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(from: &[f32]) -> __m512 {
        memory!(from, 16, |from| _mm512_loadu_ps(from.as_ptr()))
    }
    #[inline(always)]
    fn load_f16(from: &[u16]) -> __m512 {
        memory!(from, 16, |from| _mm512_cvtph_ps(_mm256_loadu_si256(
            from.as_ptr().cast()
        )))
    }
    #[inline(always)]
    fn store(x: __m512, to: &mut [f32]) {
        memory!(mut to, 16, |to| _mm512_storeu_ps(to.as_mut_ptr(), x));
    }
    #[inline(always)]
    fn store_bits(x: __m512, to: &mut [u32]) {
        memory!(mut to, 16, |to| _mm512_storeu_ps(to.as_mut_ptr().cast(), x));
    }
    #[inline(always)]
    fn store_bytes(x: __m512i, to: &mut [u32]) {
        let packed = op!(_mm512_cvtepi32_epi8(x));
        memory!(mut to, 4, |to| _mm_storeu_si128(
            to.as_mut_ptr().cast(),
            packed
        ));
    }
    #[inline(always)]
    fn add(a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn fraction(x: __m512) -> __m512 {
        op!(_mm512_reduce_ps(
            x,
            _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC
        ))
    }
    #[inline(always)]
    fn scale(x: __m512, n: __m512) -> __m512 {
        op!(_mm512_scalef_ps(x, n))
    }
    #[inline(always)]
    fn sum(x: __m512) -> f32 {
        op!(_mm512_reduce_add_ps(x))
    }
    #[inline(always)]
    fn maximum(x: __m512) -> f32 {
        op!(_mm512_reduce_max_ps(x))
    }
    #[inline(always)]
    fn splat_word(x: u32) -> __m512i {
        op!(_mm512_set1_epi32(x as i32))
    }
    #[inline(always)]
    fn load_words(from: &[u32]) -> __m512i {
        memory!(from, 16, |from| _mm512_loadu_si512(from.as_ptr().cast()))
    }
    #[inline(always)]
    fn store_words(x: __m512i, to: &mut [u32]) {
        memory!(mut to, 16, |to| _mm512_storeu_si512(
            to.as_mut_ptr().cast(),
            x
        ));
    }
    #[inline(always)]
    fn join_bytes([a, b, c, d]: [__m512i; 4]) -> __m512i {
        op!({
            // As for AVX2, with four quarters.
            let mixed = _mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
            _mm512_permutexvar_epi32(quarters(), mixed)
        })
    }
    #[inline(always)]
    fn byte_powers([a, b, c, d]: [__m512; 4]) -> __m512i {
        op!({
            let mixed = _mm512_packus_epi16(byte_power(a, b), byte_power(c, d));
            _mm512_permutexvar_epi32(quarters(), mixed)
        })
    }
    #[inline(always)]
    fn join_byte(x: __m512i, low: __m512i) -> __m512i {
        op!({
            let low = _mm512_and_si512(low, _mm512_set1_epi32(255));
            _mm512_or_si512(_mm512_slli_epi32(x, 8), low)
        })
    }
    #[inline(always)]
    fn add_words(a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn shift_byte(x: __m512i) -> __m512i {
        op!(_mm512_srli_epi32(x, 8))
    }
    #[inline(always)]
    fn to_words(x: __m512) -> __m512i {
        op!(_mm512_cvtps_epi32(x))
    }
    #[inline(always)]
    fn to_floats(x: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn dot_bytes(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        if VNNI {
            return op!(_mm512_dpbusd_epi32(sum, a, b));
        }
        op!({
            let a_even = _mm512_and_si512(a, _mm512_set1_epi16(255));
            let a_odd = _mm512_srli_epi16(a, 8);
            let b_even = _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8);
            let b_odd = _mm512_srai_epi16(b, 8);
            let sum = _mm512_add_epi32(sum, _mm512_madd_epi16(a_even, b_even));
            _mm512_add_epi32(sum, _mm512_madd_epi16(a_odd, b_odd))
        })
    }
    #[inline(always)]
    fn prefetch<T>(place: *const T) {
        // Never faults, wherever `place` is.
        op!(_mm_prefetch::<_MM_HINT_T0>(place.cast()));
    }
}
