//! Models: configuration, weights and the loaders for GGUF files and Hugging Face folders.

mod bytes;
pub mod config;
mod digest;
mod error;
mod files;
mod gguf;
mod huggingface;
mod matrix;
mod weights;

use std::path::Path;

pub use config::{Architecture, ModelConfig, Rope, RopeScaling};
pub use error::ModelError;
pub use files::Files;
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
    match Files::find(path)? {
        Files::Gguf(file) => gguf::load(&file),
        Files::HuggingFace(folder) => huggingface::load(&folder),
    }
}

/// Reads only the shape of a model that [`load`] would load.
///
/// # Errors
/// As [`load`], for the files that tell the shape.
pub fn read_config(path: &Path) -> Result<ModelConfig, ModelError> {
    match Files::find(path)? {
        Files::Gguf(file) => gguf::read_config(&file),
        Files::HuggingFace(folder) => huggingface::read_config(&folder),
    }
}
