//! RMS norms, SwiGLU and rotary embedding: a row at a time, sums in one fixed order.

#![allow(unsafe_code)]

use super::isa::Isa;
use super::simd::{LANES, Simd, exp};
use super::simd_scalar::Scalar;

#[cfg(target_arch = "x86_64")]
use super::{simd_avx2::Avx2, simd_avx512::Avx512};

/// `out = x / rms(x) * weight`.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut lanes = [0.0_f32; LANES];
    for (index, value) in x.iter().enumerate() {
        lanes[index % LANES] = value.mul_add(*value, lanes[index % LANES]);
    }
    // SAFETY: the plain Rust vector needs no instruction set.
    let sum = unsafe { Scalar::sum(lanes) };
    let scale = 1.0 / (sum / x.len() as f32 + eps).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = value * scale * weight;
    }
}

/// Rotates the pairs of one head by `turns`, the (cosine, sine) of each pair.
pub(super) fn rotate(head: &mut [f32], turns: &[(f32, f32)], interleaved: bool) {
    let half = head.len() / 2;
    for (pair, (cos, sin)) in turns.iter().enumerate() {
        let (first, second) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
        let (a, b) = (head[first], head[second]);
        head[first] = a * cos - b * sin;
        head[second] = a * sin + b * cos;
    }
}

/// `gate = silu(gate) * up`.
pub(super) fn swiglu(isa: Isa, gate: &mut [f32], up: &[f32]) {
    let whole = gate.len() / LANES * LANES;
    // SAFETY: the instruction set is one of this machine, and whole vectors lie inside both slices.
    unsafe {
        match isa {
            Isa::Scalar => swiglu_with::<Scalar>(gate, up, whole),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => swiglu_avx2(gate, up, whole),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => swiglu_avx512(gate, up, whole),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => swiglu_with::<Scalar>(gate, up, whole),
        }
        let rest = gate.len() - whole;
        let (mut last, mut other) = ([0.0; LANES], [0.0; LANES]);
        last[..rest].copy_from_slice(&gate[whole..]);
        other[..rest].copy_from_slice(&up[whole..]);
        swiglu_with::<Scalar>(&mut last, &other, LANES);
        gate[whole..].copy_from_slice(&last[..rest]);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn swiglu_avx2(gate: &mut [f32], up: &[f32], whole: usize) {
    // SAFETY: passes its caller's promise on.
    unsafe { swiglu_with::<Avx2>(gate, up, whole) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn swiglu_avx512(gate: &mut [f32], up: &[f32], whole: usize) {
    // SAFETY: passes its caller's promise on.
    unsafe { swiglu_with::<Avx512>(gate, up, whole) }
}

#[inline(always)]
unsafe fn swiglu_with<S: Simd>(gate: &mut [f32], up: &[f32], whole: usize) {
    for at in (0..whole).step_by(LANES) {
        // SAFETY: whole vectors inside both slices.
        unsafe {
            let to = gate.as_mut_ptr().add(at);
            let g = S::load(to);
            let sigmoid = S::div(S::splat(1.0), S::add(S::splat(1.0), exp::<S>(S::mul(g, S::splat(-1.0)))));
            S::store(to, S::mul(S::mul(g, sigmoid), S::load(up.as_ptr().add(at))));
        }
    }
}
