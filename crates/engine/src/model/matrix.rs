//! Weight matrices in the encoding of their file.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};

/// A weight matrix `[rows = output features, columns = input features]` in host memory.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// The values.
    pub data: MatrixData,
}

/// The values of a [`Matrix`].
#[derive(Debug, Clone)]
pub enum MatrixData {
    /// GGUF blocks.
    Quantized(Arc<QTensor>),
    /// bf16, f16 or f32.
    Dense(Tensor),
}

impl Matrix {
    /// The exact values as an f32 tensor `[rows, columns]` on `device`.
    ///
    /// # Errors
    /// When the device cannot hold it.
    pub fn to_tensor(&self, device: &Device) -> candle_core::Result<Tensor> {
        match &self.data {
            MatrixData::Quantized(quantized) => quantized.dequantize(&Device::Cpu)?.to_device(device),
            MatrixData::Dense(dense) => dense.to_dtype(DType::F32)?.to_device(device),
        }
    }

    /// The exact values, row by row.
    ///
    /// # Errors
    /// When candle cannot decode the encoding.
    pub fn dequantize(&self) -> candle_core::Result<Vec<f32>> {
        self.to_tensor(&Device::Cpu)?.flatten_all()?.to_vec1()
    }
}
