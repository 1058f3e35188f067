//! Models: configuration, weights and the loaders for GGUF files and Hugging Face folders.

pub mod config;

pub use config::{Architecture, ModelConfig, Rope, RopeScaling};
