//! The digest that tells whether two workers serve the same model.

use super::ModelConfig;

/// Collects a digest over a model's shape and tensors.
#[derive(Debug)]
pub(super) struct Digest(blake3::Hasher);

impl Digest {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Takes in one tensor; the loaders read tensors in one fixed order.
    pub(super) fn tensor(&mut self, name: &str, data: &[u8]) {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(&(data.len() as u64).to_le_bytes());
        self.0.update(data);
    }

    pub(super) fn finish(mut self, config: &ModelConfig) -> [u8; 32] {
        self.0.update(format!("{config:?}").as_bytes());
        *self.0.finalize().as_bytes()
    }
}
