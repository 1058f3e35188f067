//! The digest that tells whether two workers serve the same model.

use super::ModelConfig;

/// Collects a digest over a model's shape and tensors.
#[derive(Debug)]
pub(super) struct Digest(blake3::Hasher);

impl Digest {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Takes in one tensor. The loaders read tensors in one fixed order, so that the digest does not depend on how a
    /// model is cut into files.
    pub(super) fn tensor(&mut self, name: &str, encoding: impl std::fmt::Debug, data: &[u8]) {
        let encoding = format!("{encoding:?}");
        for part in [name.as_bytes(), encoding.as_bytes(), data] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(super) fn finish(mut self, config: &ModelConfig) -> [u8; 32] {
        self.0.update(format!("{config:?}").as_bytes());
        *self.0.finalize().as_bytes()
    }
}
