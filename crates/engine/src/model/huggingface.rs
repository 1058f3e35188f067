//! Hugging Face folders: `config.json` and one or several safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::digest::Digest;
use super::weights::{Part, Source};
use super::{Matrix, MatrixData, Model, ModelError, Weights, hf_config};

/// Loads a folder.
pub(super) fn load(folder: &Path) -> Result<Model, ModelError> {
    let (config, tied) = hf_config::read(folder)?;
    let mut source = Folder { root: folder.into(), tensors: HashMap::new(), digest: Digest::new() };
    for shard in shards(folder)? {
        source.read_shard(&shard)?;
    }
    let tied = tied || !source.has("lm_head.weight");
    let weights = Weights::read(&mut source, &config, tied)?;
    let digest = source.digest.finish(&config);
    Ok(Model { config, weights, digest })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The safetensors files of a folder. An index may only point to files inside the folder.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index_path = folder.join("model.safetensors.index.json");
    if !index_path.is_file() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let text = std::fs::read_to_string(&index_path)
        .map_err(|source| ModelError::Read { path: index_path.clone(), source })?;
    let index: Index =
        serde_json::from_str(&text).map_err(|source| ModelError::damaged(&index_path, source))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.is_empty() {
            return Err(ModelError::field(
                &index_path,
                "weight_map",
                format!("points outside the folder: {name:?}"),
            ));
        }
        if !folder.join(name).is_file() {
            return Err(ModelError::field(
                &index_path,
                "weight_map",
                format!("names {name:?}, which is missing"),
            ));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

struct Folder {
    root: PathBuf,
    tensors: HashMap<String, Tensor>,
    digest: Digest,
}

impl Folder {
    /// Reads one file; peak memory is the model and this file's bytes.
    fn read_shard(&mut self, path: &Path) -> Result<(), ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        let shard = SafeTensors::deserialize(&bytes).map_err(|source| ModelError::damaged(path, source))?;
        let mut tensors = shard.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, view) in tensors {
            let dtype = match view.dtype() {
                Dtype::BF16 => DType::BF16,
                Dtype::F16 => DType::F16,
                Dtype::F32 => DType::F32,
                other => {
                    return Err(ModelError::tensor(
                        path,
                        &name,
                        format!("has type {other:?}, not bf16, f16 or f32"),
                    ));
                }
            };
            let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)
                .map_err(|source| ModelError::damaged(path, source))?;
            self.digest.tensor(&name, view.data());
            self.tensors.insert(name, tensor);
        }
        Ok(())
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let tensor =
            self.tensors.remove(name).ok_or_else(|| ModelError::tensor(&self.root, name, "is missing"))?;
        if tensor.dims() != shape {
            let what = format!("has shape {:?}, expected {shape:?}", tensor.dims());
            return Err(ModelError::tensor(&self.root, name, what));
        }
        Ok(tensor)
    }
}

impl Source for Folder {
    fn path(&self) -> &Path {
        &self.root
    }

    fn layer_name(&self, layer: usize, part: Part) -> String {
        format!("model.layers.{layer}.{}", self.name(part))
    }

    fn name(&self, part: Part) -> String {
        match part {
            Part::Embedding => "model.embed_tokens.weight",
            Part::Norm => "model.norm.weight",
            Part::Output => "lm_head.weight",
            Part::AttentionNorm => "input_layernorm.weight",
            Part::Q => "self_attn.q_proj.weight",
            Part::K => "self_attn.k_proj.weight",
            Part::V => "self_attn.v_proj.weight",
            Part::O => "self_attn.o_proj.weight",
            Part::QBias => "self_attn.q_proj.bias",
            Part::KBias => "self_attn.k_proj.bias",
            Part::VBias => "self_attn.v_proj.bias",
            Part::QNorm => "self_attn.q_norm.weight",
            Part::KNorm => "self_attn.k_norm.weight",
            Part::FfnNorm => "post_attention_layernorm.weight",
            Part::Gate => "mlp.gate_proj.weight",
            Part::Up => "mlp.up_proj.weight",
            Part::Down => "mlp.down_proj.weight",
        }
        .to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        Ok(Matrix { rows, columns, data: MatrixData::Dense(self.take(name, &[rows, columns])?) })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.take(name, &[length])?;
        let values = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.to_vec1());
        values.map_err(|error| ModelError::tensor(&self.root, name, format!("cannot be decoded: {error}")))
    }
}
