//! The 16-lane vector as two AVX2 registers.

#![allow(unsafe_code)]
#![allow(clippy::wildcard_imports, reason = "intrinsics are named after their instructions")]

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};
use super::simd_avx512::sum8;

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Lanes 0 to 7 and 8 to 15.
type Pair = [__m256; 2];

/// Sixteen bytes as integers.
///
/// # Safety
/// The machine must have AVX2, and 16 bytes must lie behind `from`.
#[inline(always)]
unsafe fn widen_u8(from: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller vouches for AVX2 and 16 bytes.
    unsafe {
        let bytes = _mm_loadu_si128(from.cast());
        [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes))]
    }
}

/// Transposes eight rows of eight lanes.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller vouches for AVX2.
    unsafe {
        // After two rounds `fours[4 * i + k]` holds columns k and k + 4 of rows 4 * i to 4 * i + 3.
        let mut fours = r;
        for i in 0..2 {
            let [a, b, c, d] = [r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]];
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            fours[4 * i] = _mm256_shuffle_ps(ab, cd, 0x44);
            fours[4 * i + 1] = _mm256_shuffle_ps(ab, cd, 0xee);
            fours[4 * i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
            fours[4 * i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
        }
        let mut columns = r;
        for k in 0..4 {
            columns[k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x20);
            columns[4 + k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x31);
        }
        columns
    }
}

// SAFETY: every method is intrinsics of the instruction set that the caller vouches for, on pointers it vouches for.
unsafe impl Simd for Avx2 {
    type V = Pair;
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Pair) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn add(a: Pair, b: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: Pair, b: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: Pair, b: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn max(a: Pair, b: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn min(a: Pair, b: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn round(a: Pair) -> Pair {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: passes its caller's promise on.
        unsafe { [_mm256_round_ps(a[0], MODE), _mm256_round_ps(a[1], MODE)] }
    }
    #[inline(always)]
    unsafe fn exp2_integral(a: Pair) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe {
            a.map(|half| {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(half), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe {
            [from, from.add(16)].map(|half| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(half.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Pair {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            [bytes, _mm_unpackhi_epi64(bytes, bytes)]
                .map(|half| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half)))
        }
    }
    #[inline(always)]
    unsafe fn load_u4_pair(from: *const u8) -> (Pair, Pair) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let wide = widen_u8(from);
            let low = wide.map(|half| _mm256_cvtepi32_ps(_mm256_and_si256(half, _mm256_set1_epi32(15))));
            (low, wide.map(|half| _mm256_cvtepi32_ps(_mm256_srli_epi32(half, 4))))
        }
    }
    #[inline(always)]
    unsafe fn transpose(r: [Pair; LANES]) -> [Pair; LANES] {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let mut columns = r;
            for half in 0..2 {
                let mut quarters = [[r[0][0]; 8]; 2];
                for (i, quarter) in quarters.iter_mut().enumerate() {
                    for k in 0..8 {
                        quarter[k] = r[8 * i + k][half];
                    }
                }
                let [top, bottom] = [transpose8(quarters[0]), transpose8(quarters[1])];
                for k in 0..8 {
                    columns[8 * half + k] = [top[k], bottom[k]];
                }
            }
            columns
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Pair) -> f32 {
        // SAFETY: passes its caller's promise on.
        unsafe { sum8(_mm256_add_ps(a[0], a[1])) }
    }
}
