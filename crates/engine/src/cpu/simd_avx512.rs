//! The 16-lane vector as one AVX-512 register.

#![allow(unsafe_code)]
#![allow(clippy::wildcard_imports, reason = "intrinsics are named after their instructions")]

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};

/// AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// The sum of eight lanes, halves first; shared with the AVX2 vector.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
pub(super) unsafe fn sum8(a: __m256) -> f32 {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)))
    }
}

// SAFETY: every method is an intrinsic of the instruction set that the caller vouches for, on pointers it vouches for.
unsafe impl Simd for Avx512 {
    type V = __m512;
    const ROWS: usize = 12;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) }
    }
    #[inline(always)]
    unsafe fn exp2_integral(a: __m512) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: passes its caller's promise on.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u4_pair(from: *const u8) -> (__m512, __m512) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            // The table's index is the low four bits of each lane: one instruction instead of a mask and a conversion.
            let table = _mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
            );
            let wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32(wide, 4), table);
            (_mm512_permutexvar_ps(wide, table), high)
        }
    }
    #[inline(always)]
    unsafe fn transpose(r: [__m512; LANES]) -> [__m512; LANES] {
        // SAFETY: passes its caller's promise on.
        unsafe {
            // After two rounds quarter L of `fours[4 * i + k]` holds column 4 * L + k of rows 4 * i to 4 * i + 3.
            let mut fours = r;
            for i in 0..4 {
                let [a, b, c, d] = [r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]];
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                fours[4 * i] = _mm512_shuffle_ps(ab, cd, 0x44);
                fours[4 * i + 1] = _mm512_shuffle_ps(ab, cd, 0xee);
                fours[4 * i + 2] = _mm512_shuffle_ps(ab_high, cd_high, 0x44);
                fours[4 * i + 3] = _mm512_shuffle_ps(ab_high, cd_high, 0xee);
            }
            let mut columns = r;
            for k in 0..4 {
                let even = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0x88);
                let odd = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0xdd);
                let even_below = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0x88);
                let odd_below = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0xdd);
                columns[k] = _mm512_shuffle_f32x4(even, even_below, 0x88);
                columns[4 + k] = _mm512_shuffle_f32x4(odd, odd_below, 0x88);
                columns[8 + k] = _mm512_shuffle_f32x4(even, even_below, 0xdd);
                columns[12 + k] = _mm512_shuffle_f32x4(odd, odd_below, 0xdd);
            }
            columns
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        // SAFETY: passes its caller's promise on.
        unsafe { sum8(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))) }
    }
}
