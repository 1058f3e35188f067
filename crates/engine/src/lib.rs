//! The inference engine: token ids in, token ids out. It knows no HTTP and no async runtime.

pub mod backend;
pub mod core;
pub mod cpu;
pub mod kv;
pub mod model;
pub mod sampling;
pub mod tensor;

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

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "tensor" => Ok(Self::Tensor),
            other => Err(format!("unknown backend {other:?} (cpu or tensor)")),
        }
    }
}

/// Makes a backend for `model` with `threads` threads and a pool of `kv_blocks` blocks.
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
