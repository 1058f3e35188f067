//! Vectors of 16 lanes, the same arithmetic on every instruction set.
//!
//! Kernels are written once against [`Simd`] and compiled once per instruction set. Every operation here is exact or
//! rounds as IEEE 754 says, and sums across lanes go through one fixed tree, so that all instruction sets give the same
//! bits.

#![allow(unsafe_code)]

/// Lanes of a vector: the rows of a weight tile.
pub(super) const LANES: usize = 16;

/// A 16-lane instruction set.
///
/// # Safety
/// The methods may be called only where the instruction set is available, and pointers must be valid for what the method
/// reads or writes; no alignment is needed.
pub(super) unsafe trait Simd: Copy {
    /// 16 f32 lanes.
    type V: Copy;
    /// Rows that the matrix kernel works on at once, for two tiles beside each other.
    const ROWS: usize;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^a` for integral `a` from -126 to 127.
    unsafe fn exp2_integral(a: Self::V) -> Self::V;
    /// 16 f32 values, at any address.
    #[inline(always)]
    #[allow(clippy::cast_ptr_alignment, reason = "loads need no alignment")]
    unsafe fn load_f32(from: *const u8) -> Self::V {
        // SAFETY: passes its caller's promise on.
        unsafe { Self::load(from.cast()) }
    }
    /// 16 f16 values.
    unsafe fn load_f16(from: *const u8) -> Self::V;
    /// 16 bf16 values.
    unsafe fn load_bf16(from: *const u8) -> Self::V;
    /// 16 signed bytes.
    unsafe fn load_i8(from: *const u8) -> Self::V;
    /// 16 bytes of two 4-bit values each: the low halves, the high halves.
    unsafe fn load_u4_pair(from: *const u8) -> (Self::V, Self::V);
    /// Vector `i` of the result holds lane `i` of each vector.
    unsafe fn transpose(rows: [Self::V; LANES]) -> [Self::V; LANES];
    /// The sum of all lanes: halves are added until one lane is left.
    unsafe fn sum(a: Self::V) -> f32;
}

/// `e^a`, from the Cephes single-precision polynomial; below -87.3 it gives the value there.
///
/// # Safety
/// The machine must have the instruction set of `S`.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(a: S::V) -> S::V {
    // SAFETY: passes its caller's promise on.
    unsafe {
        let a = S::max(S::min(a, S::splat(88.0)), S::splat(-87.3));
        let n = S::round(S::mul(a, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), a);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(coefficient));
        }
        let p = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
        S::mul(p, S::exp2_integral(n))
    }
}
