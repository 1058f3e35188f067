//! Models: what is loaded, what is refused, and what they compute.

#[macro_use]
mod model_support;
mod agree;
mod bad_gguf;
mod bad_huggingface;
mod cpu;
mod same_bits;
