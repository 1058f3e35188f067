//! GGUF files of the architectures `llama`, `qwen2` and `qwen3`.

mod config;
mod header;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::{QStorage, QTensor};

use super::bytes::AlignedBytes;
use super::digest::Digest;
use super::weights::{Part, Source};
use super::{Matrix, MatrixData, Model, ModelConfig, ModelError, Weights};
use header::{Header, Place};

/// Divisors of the rotary frequencies, in files whose model scales them.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Loads a GGUF file.
pub(super) fn load(path: &Path) -> Result<Model, ModelError> {
    let read = |source| ModelError::Read { path: path.into(), source };
    let file = File::open(path).map_err(read)?;
    let header = Header::read(path, file.try_clone().map_err(read)?)?;
    let mut config = config::read(path, &header)?;
    config.check().map_err(|(field, what)| ModelError::field(path, field, what))?;
    let mut source = Gguf { path: path.into(), file, tensors: header.tensors, digest: Digest::new() };
    if source.has(ROPE_FACTORS) {
        config.rope.factors = Some(source.rope_factors(config.head_dim / 2)?);
    }
    let tied = !source.has(&source.name(Part::Output));
    let weights = Weights::read(&mut source, &config, tied)?;
    let digest = source.digest.finish(&config);
    Ok(Model { config, weights, digest })
}

/// Reads only the shape; the divisors of rotary frequencies, which are a tensor, are left out.
pub(super) fn read_config(path: &Path) -> Result<ModelConfig, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    let config = config::read(path, &Header::read(path, file)?)?;
    config.check().map_err(|(field, what)| ModelError::field(path, field, what))?;
    Ok(config)
}

struct Gguf {
    path: PathBuf,
    file: File,
    /// Tensors not read yet.
    tensors: BTreeMap<String, Place>,
    digest: Digest,
}

impl Gguf {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<QTensor, ModelError> {
        let error = |what: String| ModelError::tensor(&self.path, name, what);
        let place = self.tensors.remove(name).ok_or_else(|| error("is missing".into()))?;
        if place.shape != shape {
            return Err(error(format!("has shape {:?}, expected {shape:?}", place.shape)));
        }
        let bytes = AlignedBytes::read(&mut self.file, place.start, place.bytes as usize)
            .map_err(|source| ModelError::Read { path: self.path.clone(), source })?;
        self.digest.tensor(name, place.dtype, bytes.as_slice());
        QStorage::from_data(Cow::Borrowed(bytes.as_slice()), &Device::Cpu, place.dtype)
            .and_then(|storage| QTensor::new(storage, shape))
            .map_err(|source| ModelError::candle(&self.path, name, "cannot be read", source))
    }

    fn rope_factors(&mut self, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let factors = self.vector(ROPE_FACTORS, pairs)?;
        match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
            Some(factor) => Err(ModelError::tensor(&self.path, ROPE_FACTORS, format!("divides by {factor}"))),
            None => Ok(factors),
        }
    }
}

impl Source for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn layer_name(&self, layer: usize, part: Part) -> String {
        format!("blk.{layer}.{}", self.name(part))
    }

    fn name(&self, part: Part) -> String {
        match part {
            Part::Embedding => "token_embd.weight",
            Part::Norm => "output_norm.weight",
            Part::Output => "output.weight",
            Part::AttentionNorm => "attn_norm.weight",
            Part::Q => "attn_q.weight",
            Part::K => "attn_k.weight",
            Part::V => "attn_v.weight",
            Part::O => "attn_output.weight",
            Part::QBias => "attn_q.bias",
            Part::KBias => "attn_k.bias",
            Part::VBias => "attn_v.bias",
            Part::QNorm => "attn_q_norm.weight",
            Part::KNorm => "attn_k_norm.weight",
            Part::FfnNorm => "ffn_norm.weight",
            Part::Gate => "ffn_gate.weight",
            Part::Up => "ffn_up.weight",
            Part::Down => "ffn_down.weight",
        }
        .to_owned()
    }

    fn unread(&self) -> Option<&str> {
        self.tensors.keys().find(|name| name.starts_with("blk.")).map(String::as_str)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        let tensor = self.read(name, &[rows, columns])?;
        Ok(Matrix { rows, columns, data: MatrixData::Quantized(Arc::new(tensor)) })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.read(name, &[length])?;
        let values = tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.to_vec1());
        values.map_err(|source| ModelError::candle(&self.path, name, "cannot be decoded", source))
    }
}

impl Gguf {
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}
