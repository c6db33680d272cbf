//! AVX-512 F, BW, DQ and VL, with or without VNNI: a vector is one register.

#![expect(unsafe_code, reason = "intrinsics, behind a token that proves them")]

use std::arch::x86_64::*;

use super::{LANES, POWERS, Simd, Task};

/// Exists only inside [`enter`] (`VNNI` false) and [`enter_vnni`] (true).
#[derive(Clone, Copy)]
pub struct Avx512<const VNNI: bool>(());

/// Runs `task` with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub fn enter<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Avx512::<false>(()))
}

/// Runs `task` with AVX-512 and VNNI.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub fn enter_vnni<Out, T: Task<Out>>(task: T) -> Out {
    task.run(Avx512::<true>(()))
}

/// One expression over intrinsics that only compute.
macro_rules! op {
    ($e:expr) => {{
        // SAFETY: an `Avx512` exists only where the CPU has AVX-512, and VNNI if it says so.
        unsafe { $e }
    }};
}

/// `255 × 2^-x` of two vectors, a quarter of each in turn. In steps of 1/64 and integers of 16 bits: a
/// table has the fraction of a bit, a shift does whole ones.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn byte_power(a: __m512, b: __m512) -> __m512i {
    let table = POWERS.as_ptr();
    // SAFETY: as the caller promises; 64 numbers of 16 bits may be read at the table.
    unsafe {
        let low = _mm512_loadu_si512(table.cast());
        let high = _mm512_loadu_si512(table.add(32).cast());
        let unit = _mm512_set1_ps(64.0);
        let a = _mm512_cvtps_epi32(_mm512_mul_ps(a, unit));
        let b = _mm512_cvtps_epi32(_mm512_mul_ps(b, unit));
        let steps = _mm512_packus_epi32(a, b);
        let fraction = _mm512_permutex2var_epi16(low, steps, high);
        let power = _mm512_srlv_epi16(fraction, _mm512_srli_epi16::<6>(steps));
        _mm512_srli_epi16::<8>(_mm512_add_epi16(power, _mm512_set1_epi16(128)))
    }
}

impl<const VNNI: bool> Avx512<VNNI> {
    /// Packing four vectors takes a quarter of each in turn; this puts the vectors one after another.
    #[inline(always)]
    fn in_order(self, mixed: __m512i) -> __m512i {
        op!(_mm512_permutexvar_epi32(
            _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
            mixed
        ))
    }
}

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type F = __m512;
    type I = __m512i;
    type Mask = __mmask16;
    /// With VNNI the bytes as they are, twice. Else bytes 0 and 2 of each lane as 16-bit pairs, then 1 and 3.
    type Bytes = [__m512i; 2];
    super::one_word_at_a_time!();
    const MIXED_SIGNS: bool = true;
    const TILE_VECTORS: usize = 2;
    const TILE_ROWS: usize = 12;
    const TILE_LEFT: usize = 6;
    const TILE_COLUMNS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        op!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        // SAFETY: the instruction exists; 16 floats may be read at `from`.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::F {
        // SAFETY: the instructions exist; 32 bytes may be read at `from`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the instruction exists; 16 floats may be written at `to`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        op!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::Mask {
        op!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn select(self, mask: Self::Mask, yes: Self::F, no: Self::F) -> Self::F {
        op!(_mm512_mask_blend_ps(mask, no, yes))
    }
    #[inline(always)]
    fn mask(self, bits: u16) -> Self::Mask {
        bits
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::I {
        op!(_mm512_cvtps_epi32(x))
    }
    #[inline(always)]
    fn float(self, x: Self::I) -> Self::F {
        op!(_mm512_cvtepi32_ps(x))
    }
    #[inline(always)]
    fn exponent(self, x: Self::I) -> Self::F {
        op!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(x)))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        op!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        // SAFETY: the instruction exists; 16 integers may be read at `from`.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        op!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I {
        op!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I {
        op!(_mm512_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        // SAFETY: the instruction exists; 16 integers may be written at `to`.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
    }
    #[inline(always)]
    fn store_u8(self, x: Self::I, to: &mut [u8; LANES]) {
        let bytes = op!(_mm512_cvtusepi32_epi8(_mm512_max_epi32(
            x,
            _mm512_setzero_si512()
        )));
        // SAFETY: the instruction exists; 16 bytes may be written at `to`.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    }
    #[inline(always)]
    fn bytes(self, from: &[i8; 4 * LANES]) -> Self::Bytes {
        // SAFETY: the instruction exists; 64 bytes may be read at `from`.
        let x = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
        if VNNI {
            return [x; 2];
        }
        op!([
            _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)),
            _mm512_srai_epi16::<8>(x)
        ])
    }
    /// `vpmaddubsw` would saturate its 16-bit sums; widened to 16 bits first, nothing can.
    #[inline(always)]
    fn dot4(self, sum: Self::I, x: u32, _: usize, [even, odd]: Self::Bytes) -> Self::I {
        let x = self.splat_i32(x as i32);
        if VNNI {
            return op!(_mm512_dpbusd_epi32(sum, x, even));
        }
        op!({
            let x_even = _mm512_and_si512(x, _mm512_set1_epi16(255));
            let x_odd = _mm512_srli_epi16::<8>(x);
            let products = _mm512_madd_epi16(even, x_even);
            let products = _mm512_add_epi32(products, _mm512_madd_epi16(odd, x_odd));
            _mm512_add_epi32(sum, products)
        })
    }
    /// `vreduceps` would round the difference down, not to the nearest.
    #[inline(always)]
    fn fraction(self, x: Self::F) -> Self::F {
        op!({
            let floor = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
            _mm512_sub_ps(x, floor)
        })
    }
    #[inline(always)]
    fn scale(self, x: Self::F, n: Self::F) -> Self::F {
        op!(_mm512_scalef_ps(x, n))
    }
    #[inline(always)]
    fn store_low_bytes(self, x: Self::I, to: &mut [u8; LANES]) {
        let bytes = op!(_mm512_cvtepi32_epi8(x));
        // SAFETY: the instruction exists; 16 bytes may be written at `to`.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    }
    #[inline(always)]
    fn join_bytes(self, [a, b, c, d]: [Self::I; 4]) -> Self::I {
        self.in_order(op!(_mm512_packus_epi16(
            _mm512_packus_epi32(a, b),
            _mm512_packus_epi32(c, d)
        )))
    }
    #[inline(always)]
    fn byte_powers(self, [a, b, c, d]: [Self::F; 4]) -> Self::I {
        self.in_order(op!(_mm512_packus_epi16(byte_power(a, b), byte_power(c, d))))
    }
    #[inline(always)]
    fn join_byte(self, x: Self::I, low: Self::I) -> Self::I {
        op!({
            let low = _mm512_and_si512(low, _mm512_set1_epi32(255));
            _mm512_or_si512(_mm512_slli_epi32::<8>(x), low)
        })
    }
    #[inline(always)]
    fn shift_byte(self, x: Self::I) -> Self::I {
        op!(_mm512_srli_epi32::<8>(x))
    }
    /// As [`Simd::dot4`]; without VNNI both sides are widened here.
    #[inline(always)]
    fn dot_bytes(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        if VNNI {
            return op!(_mm512_dpbusd_epi32(sum, a, b));
        }
        op!({
            let a_even = _mm512_and_si512(a, _mm512_set1_epi16(255));
            let a_odd = _mm512_srli_epi16::<8>(a);
            let b_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b));
            let b_odd = _mm512_srai_epi16::<8>(b);
            let sum = _mm512_add_epi32(sum, _mm512_madd_epi16(a_even, b_even));
            _mm512_add_epi32(sum, _mm512_madd_epi16(a_odd, b_odd))
        })
    }
    #[inline(always)]
    fn nibbles<const HIGH: bool>(self, x: Self::I) -> Self::I {
        let x = if HIGH {
            op!(_mm512_srli_epi32::<4>(x))
        } else {
            x
        };
        op!(_mm512_and_si512(x, _mm512_set1_epi32(0x0f0f_0f0f)))
    }
    /// Two products of a nibble and a byte fit 16 bits.
    #[inline(always)]
    fn dot_nibbles(self, sum: Self::I, word: u32, _: usize, b: Self::I) -> Self::I {
        let word = self.splat_i32(word as i32);
        if VNNI {
            return op!(_mm512_dpbusd_epi32(sum, b, word));
        }
        op!({
            let pairs = _mm512_maddubs_epi16(b, word);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        })
    }
    /// Halves are added until one lane is left, as everywhere.
    #[inline(always)]
    fn total(self, x: Self::F) -> f32 {
        op!({
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        op!(_mm512_reduce_max_ps(x))
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
