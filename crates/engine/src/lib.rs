//! The inference engine: token ids in, token ids out. It knows no HTTP and no async runtime.

#[cfg(target_endian = "big")]
compile_error!("weights and KV are used as they lie in files and on the wire, which is little endian");

pub mod backend;
pub mod core;
pub mod cpu;
mod kv;
pub mod model;
pub mod sampling;
pub mod tensor;

use std::fmt;
use std::str::FromStr;

/// The compute backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// Own kernels on the CPU.
    #[default]
    Cpu,
    /// Plain candle operations on the CPU: slow, for comparison.
    Tensor,
}

/// A name that no backend has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown backend {0:?} (cpu or tensor)")]
pub struct UnknownBackend(String);

impl BackendKind {
    /// The name on command lines and in profiles.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Tensor => "tensor",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        let known = [Self::Cpu, Self::Tensor].into_iter().find(|kind| kind.as_str() == name);
        known.ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// Makes a backend for `model` with a pool of `kv_blocks` blocks. `threads` is for [`BackendKind::Cpu`] alone: candle
/// computes with thread pools of its own (see [`tensor::TensorBackend`]).
///
/// # Errors
/// When weights cannot be decoded or memory or threads cannot be had.
pub fn build_backend(
    model: &model::Model,
    kind: BackendKind,
    threads: usize,
    kv_blocks: usize,
) -> Result<Box<dyn backend::Backend>, backend::BackendError> {
    Ok(match kind {
        BackendKind::Cpu => {
            Box::new(cpu::CpuBackend::new(model, cpu::CpuOptions { threads, isa: None, kv_blocks })?)
        }
        BackendKind::Tensor => {
            Box::new(tensor::TensorBackend::new(model, candle_core::Device::Cpu, kv_blocks)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_their_names() {
        for kind in [BackendKind::Cpu, BackendKind::Tensor] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "gpu".parse::<BackendKind>().unwrap_err();
        assert_eq!(error.to_string(), "unknown backend \"gpu\" (cpu or tensor)");
    }
}
