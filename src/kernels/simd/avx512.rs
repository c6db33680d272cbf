//! AVX-512 F, BW, DQ and VL, with or without VNNI: a vector is one register.

#![expect(unsafe_code, reason = "intrinsics, behind a token that proves them")]

use std::arch::x86_64::*;

use super::{LANES, Simd, Task};

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

impl<const VNNI: bool> Simd for Avx512<VNNI> {
    type F = __m512;
    type I = __m512i;
    type Mask = __mmask16;
    /// With VNNI the bytes as they are, twice. Else bytes 0 and 2 of each lane as 16-bit pairs, then 1 and 3.
    type Bytes = [__m512i; 2];
    const TILE_ROWS: usize = 12;

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
    fn dot4(self, sum: Self::I, x: Self::I, [even, odd]: Self::Bytes) -> Self::I {
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
