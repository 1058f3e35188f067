//! Hugging Face folders: `config.json` and one or several safetensors files.

mod config;
mod json;
mod shard;
mod shards;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::digest::Digest;
use super::weights::{Part, Source};
use super::{Matrix, MatrixData, Model, ModelConfig, ModelError, Weights};
use shard::Shard;

/// Loads a folder.
pub(super) fn load(folder: &Path) -> Result<Model, ModelError> {
    let (config, tied) = config::read(folder)?;
    let mut source =
        Folder { root: folder.into(), shards: Vec::new(), tensors: BTreeMap::new(), digest: Digest::new() };
    for (path, promised) in shards::find(folder)? {
        source.add(Shard::open(&path)?, &promised)?;
    }
    let weights = Weights::read(&mut source, &config, tied)?;
    let digest = source.digest.finish(&config);
    Ok(Model { config, weights, digest })
}

/// Reads only the shape.
pub(super) fn read_config(folder: &Path) -> Result<ModelConfig, ModelError> {
    config::read(folder).map(|(config, _)| config)
}

struct Folder {
    root: PathBuf,
    shards: Vec<Shard>,
    /// Tensors not read yet, and the shard of each.
    tensors: BTreeMap<String, usize>,
    digest: Digest,
}

impl Folder {
    /// Adds a file and checks that it holds what the index promised.
    fn add(&mut self, shard: Shard, promised: &[String]) -> Result<(), ModelError> {
        if let Some(name) = promised.iter().find(|name| !shard.holds(name)) {
            let what = "is missing, though the index places it here";
            return Err(ModelError::tensor(shard.path(), name, what));
        }
        for name in shard.names() {
            if let Some(other) = self.tensors.insert(name.clone(), self.shards.len()) {
                let what = format!("is also in {}", self.shards[other].path().display());
                return Err(ModelError::tensor(shard.path(), &name, what));
            }
        }
        self.shards.push(shard);
        Ok(())
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let shard = self.tensors.remove(name);
        let shard = shard.ok_or_else(|| ModelError::tensor(&self.root, name, "is missing"))?;
        self.shards[shard].read(name, shape, &mut self.digest)
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

    fn unread(&self) -> Option<&str> {
        // Old exports keep the rotary frequencies, which follow from the configuration.
        let unknown = |name: &&String| name.starts_with("model.layers.") && !name.ends_with(".inv_freq");
        self.tensors.keys().find(unknown).map(String::as_str)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        Ok(Matrix { rows, columns, data: MatrixData::Dense(self.take(name, &[rows, columns])?) })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.take(name, &[length])?;
        let values = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.to_vec1());
        values.map_err(|source| ModelError::candle(&self.root, name, "cannot be decoded", source))
    }
}
