//! RMS norms, `SwiGLU` and rotary embedding: a row at a time, sums in one fixed order.

#![allow(unsafe_code)]

use super::dispatch::{Kernel, Native, dispatch};
use super::simd::{LANES, Simd, exp};

/// A vector of the values from `at` on; those beyond the end are zero.
///
/// # Safety
/// The machine must have the instruction set of `S`.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], at: usize) -> S::V {
    // SAFETY: a whole vector inside the slice, or inside the padded copy.
    unsafe {
        if at + LANES <= values.len() {
            S::load(values.as_ptr().add(at))
        } else {
            let mut lanes = [0.0; LANES];
            lanes[..values.len() - at].copy_from_slice(&values[at..]);
            S::load(lanes.as_ptr())
        }
    }
}

/// Writes a vector to `at`; lanes beyond the end are dropped.
///
/// # Safety
/// The machine must have the instruction set of `S`.
#[inline(always)]
unsafe fn store<S: Simd>(values: &mut [f32], at: usize, vector: S::V) {
    // SAFETY: a whole vector inside the slice, or inside the padded copy.
    unsafe {
        if at + LANES <= values.len() {
            S::store(values.as_mut_ptr().add(at), vector);
        } else {
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), vector);
            let rest = values.len() - at;
            values[at..].copy_from_slice(&lanes[..rest]);
        }
    }
}

/// `out = x / rms(x) * weight`.
///
/// # Panics
/// When the slices are not of one length.
pub(super) fn rms_norm(isa: Native, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len());
    dispatch(isa, RmsNorm { x, weight, eps, out });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            let mut sum = S::splat(0.0);
            for at in (0..self.x.len()).step_by(LANES) {
                let x = load::<S>(self.x, at);
                sum = S::fma(x, x, sum);
            }
            let scale = S::splat(1.0 / (S::sum(sum) / self.x.len() as f32 + self.eps).sqrt());
            for at in (0..self.x.len()).step_by(LANES) {
                let scaled = S::mul(load::<S>(self.x, at), scale);
                store::<S>(self.out, at, S::mul(scaled, load::<S>(self.weight, at)));
            }
        }
    }
}

/// `gate = silu(gate) * up`.
///
/// # Panics
/// When the slices are not of one length.
pub(super) fn swiglu(isa: Native, gate: &mut [f32], up: &[f32]) {
    assert!(gate.len() == up.len());
    dispatch(isa, SwiGlu { gate, up });
}

struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: passes its caller's promise on.
        unsafe {
            for at in (0..self.up.len()).step_by(LANES) {
                let gate = load::<S>(self.gate, at);
                let one = S::splat(1.0);
                let sigmoid = S::div(one, S::add(one, exp::<S>(S::mul(gate, S::splat(-1.0)))));
                store::<S>(self.gate, at, S::mul(S::mul(gate, sigmoid), load::<S>(self.up, at)));
            }
        }
    }
}

/// `x = x + y`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Rotates the pairs of one head by `turns`, the (cosine, sine) of each pair.
pub(super) fn rotate(head: &mut [f32], turns: &[(f32, f32)], interleaved: bool) {
    if interleaved {
        for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(turns) {
            (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
        }
    } else {
        let (first, second) = head.split_at_mut(turns.len());
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}
