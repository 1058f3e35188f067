//! Models: configuration, weights and the loaders for GGUF files and Hugging Face folders.

mod bytes;
pub mod config;
mod digest;
mod error;
mod gguf;
mod huggingface;
mod matrix;
mod weights;

use std::path::{Path, PathBuf};

pub use config::{Architecture, ModelConfig, Rope, RopeScaling};
pub use error::ModelError;
pub use matrix::{Matrix, MatrixData};
pub use weights::{FeedForward, LayerWeights, Weights};

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    /// Its shape.
    pub config: ModelConfig,
    /// Its weights, in the file's encoding, in host memory.
    pub weights: Weights,
    /// Digest of shape and weights: two workers exchange KV only if theirs are equal.
    pub digest: [u8; 32],
}

/// Loads a `.gguf` file, or a folder in Hugging Face's layout (or one that holds a single `.gguf` file).
///
/// # Errors
/// When files are missing, damaged, of an unsupported architecture, or contradict each other; the error names file and
/// tensor or field.
pub fn load(path: &Path) -> Result<Model, ModelError> {
    match locate(path)? {
        Source::Gguf(file) => gguf::load(&file),
        Source::HuggingFace => huggingface::load(path),
    }
}

/// Reads only the shape of a model that [`load`] would load.
///
/// # Errors
/// As [`load`], for the files that tell the shape.
pub fn read_config(path: &Path) -> Result<ModelConfig, ModelError> {
    match locate(path)? {
        Source::Gguf(file) => gguf::read_config(&file),
        Source::HuggingFace => huggingface::read_config(path),
    }
}

enum Source {
    Gguf(PathBuf),
    HuggingFace,
}

fn locate(path: &Path) -> Result<Source, ModelError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    if !metadata.is_dir() {
        return Ok(Source::Gguf(path.into()));
    }
    if path.join("config.json").is_file() {
        return Ok(Source::HuggingFace);
    }
    let entries = std::fs::read_dir(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "gguf"));
    match files.as_slice() {
        [file] => Ok(Source::Gguf(file.clone())),
        _ => Err(ModelError::NoModel { path: path.into(), gguf_files: files.len() }),
    }
}
