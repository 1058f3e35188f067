//! Encodings of weight tiles: groups of 32 input features of 16 output features, in the order the kernels read them.

#![allow(unsafe_code)]

use super::simd::{LANES, Simd};

/// Input features of a group.
pub(super) const GROUP: usize = 32;

/// How a tile stores its weights. Every encoding gives the exact value of its GGUF or safetensors source as f32.
///
/// # Safety
/// `BYTES` must be what one group takes, and the methods may read no further.
///
/// Who calls a method vouches that `group` points to the `BYTES` bytes of a group, that the machine has the instruction
/// set of `S`, and that indices lie inside the group: `pair` below `GROUP / 2`, `column` below `GROUP`, `lane` below
/// [`LANES`].
pub(super) unsafe trait Encoding {
    /// Bytes of one group.
    const BYTES: usize;

    /// Scale and offset of each lane, read once per group.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn header<S: Simd>(group: *const u8) -> (S::V, S::V);

    /// The weights of input features `2 * pair` and `2 * pair + 1` of the group.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn pair<S: Simd>(group: *const u8, header: (S::V, S::V), pair: usize) -> (S::V, S::V);

    /// One weight of one lane, the same value that [`Self::pair`] gives.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn single(group: *const u8, column: usize, lane: usize) -> f32;
}

/// The f16 at place `index` from `at` on.
///
/// # Safety
/// `2 * index + 2` bytes must lie behind `at`.
#[inline(always)]
unsafe fn f16(at: *const u8, index: usize) -> f32 {
    // SAFETY: the caller vouches for `2 * index + 2` bytes.
    half::f16::from_le_bytes(unsafe { at.add(2 * index).cast::<[u8; 2]>().read_unaligned() }).to_f32()
}

/// 4 bits with scale and offset: `q * d + m`.
pub(super) struct U4;
const U4_HEADER: usize = 4 * LANES;

// SAFETY: the header takes 64 bytes, the 16 pairs 16 bytes each.
unsafe impl Encoding for U4 {
    const BYTES: usize = U4_HEADER + GROUP / 2 * LANES;

    #[inline(always)]
    unsafe fn header<S: Simd>(group: *const u8) -> (S::V, S::V) {
        // SAFETY: inside the group, as the caller vouches.
        unsafe { (S::load_f16(group), S::load_f16(group.add(2 * LANES))) }
    }
    #[inline(always)]
    unsafe fn pair<S: Simd>(group: *const u8, (d, m): (S::V, S::V), pair: usize) -> (S::V, S::V) {
        // SAFETY: inside the group, as the caller vouches.
        unsafe {
            let (low, high) = S::load_u4_pair(group.add(U4_HEADER + pair * LANES));
            (S::fma(low, d, m), S::fma(high, d, m))
        }
    }
    unsafe fn single(group: *const u8, column: usize, lane: usize) -> f32 {
        // SAFETY: inside the group, as the caller vouches.
        unsafe {
            let byte = *group.add(U4_HEADER + column / 2 * LANES + lane);
            let q = if column.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
            f32::from(q).mul_add(f16(group, lane), f16(group, LANES + lane))
        }
    }
}

/// Signed bytes with a scale: `q * d`.
pub(super) struct I8;
const I8_HEADER: usize = 2 * LANES;

// SAFETY: the header takes 32 bytes, the 32 columns 16 bytes each.
unsafe impl Encoding for I8 {
    const BYTES: usize = I8_HEADER + GROUP * LANES;

    #[inline(always)]
    unsafe fn header<S: Simd>(group: *const u8) -> (S::V, S::V) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (S::load_f16(group), S::splat(0.0)) }
    }
    #[inline(always)]
    unsafe fn pair<S: Simd>(group: *const u8, (d, _): (S::V, S::V), pair: usize) -> (S::V, S::V) {
        // SAFETY: inside the group, as the caller vouches.
        unsafe {
            let columns = group.add(I8_HEADER + 2 * pair * LANES);
            (S::mul(S::load_i8(columns), d), S::mul(S::load_i8(columns.add(LANES)), d))
        }
    }
    unsafe fn single(group: *const u8, column: usize, lane: usize) -> f32 {
        // SAFETY: inside the group, as the caller vouches.
        unsafe { f32::from((*group.add(I8_HEADER + column * LANES + lane)).cast_signed()) * f16(group, lane) }
    }
}

/// bf16.
pub(super) struct Bf16;

// SAFETY: 32 columns of 32 bytes each.
unsafe impl Encoding for Bf16 {
    const BYTES: usize = 2 * GROUP * LANES;

    #[inline(always)]
    unsafe fn header<S: Simd>(_group: *const u8) -> (S::V, S::V) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (S::splat(0.0), S::splat(0.0)) }
    }
    #[inline(always)]
    unsafe fn pair<S: Simd>(group: *const u8, _header: (S::V, S::V), pair: usize) -> (S::V, S::V) {
        // SAFETY: inside the group, as the caller vouches.
        unsafe {
            let columns = group.add(4 * pair * LANES);
            (S::load_bf16(columns), S::load_bf16(columns.add(2 * LANES)))
        }
    }
    unsafe fn single(group: *const u8, column: usize, lane: usize) -> f32 {
        // SAFETY: inside the group, as the caller vouches.
        let bytes = unsafe { group.add(2 * (column * LANES + lane)).cast::<[u8; 2]>().read_unaligned() };
        half::bf16::from_le_bytes(bytes).to_f32()
    }
}

/// f32: also what every encoding without a kernel of its own becomes.
pub(super) struct F32;

// SAFETY: 32 columns of 64 bytes each.
unsafe impl Encoding for F32 {
    const BYTES: usize = 4 * GROUP * LANES;

    #[inline(always)]
    unsafe fn header<S: Simd>(_group: *const u8) -> (S::V, S::V) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (S::splat(0.0), S::splat(0.0)) }
    }
    #[inline(always)]
    unsafe fn pair<S: Simd>(group: *const u8, _header: (S::V, S::V), pair: usize) -> (S::V, S::V) {
        // SAFETY: inside the group, as the caller vouches.
        unsafe {
            let columns = group.add(8 * pair * LANES);
            (S::load_f32(columns), S::load_f32(columns.add(4 * LANES)))
        }
    }
    unsafe fn single(group: *const u8, column: usize, lane: usize) -> f32 {
        // SAFETY: inside the group, as the caller vouches.
        let bytes = unsafe { group.add(4 * (column * LANES + lane)).cast::<[u8; 4]>().read_unaligned() };
        f32::from_le_bytes(bytes)
    }
}
