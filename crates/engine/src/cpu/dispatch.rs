//! Runs a kernel with the instructions of an instruction set.

#![allow(unsafe_code)]

use super::isa::Isa;
use super::simd::Simd;
use super::simd_scalar::Scalar;

#[cfg(target_arch = "x86_64")]
use super::{simd_avx2::Avx2, simd_avx512::Avx512};

/// Code that is compiled once for each instruction set.
pub(super) trait Kernel {
    /// What it gives.
    type Output;

    /// Must be `#[inline(always)]`, as must be all it calls: only so it gets the instruction set of its caller.
    ///
    /// # Safety
    /// The instruction set of `S` must be one of this machine.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Native(Isa);

impl Native {
    /// `isa`, unless this machine lacks it.
    pub(super) fn new(isa: Isa) -> Option<Self> {
        Isa::available().contains(&isa).then_some(Self(isa))
    }
}

/// Runs `kernel` with the instructions of `isa`.
pub(super) fn dispatch<K: Kernel>(isa: Native, kernel: K) -> K::Output {
    // SAFETY: the machine has the instruction set.
    unsafe {
        match isa.0 {
            Isa::Scalar => kernel.run::<Scalar>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => with_avx2(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => with_avx512(kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => kernel.run::<Scalar>(),
        }
    }
}

/// Compiles the kernel with these instructions.
///
/// # Safety
/// The machine must have AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: passes its caller's promise on.
    unsafe { kernel.run::<Avx2>() }
}

/// Compiles the kernel with these instructions.
///
/// # Safety
/// The machine must have what [`with_avx2`] needs, and AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: passes its caller's promise on.
    unsafe { kernel.run::<Avx512>() }
}
