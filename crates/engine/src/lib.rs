//! The inference engine: token ids in, token ids out. It knows no HTTP and no async runtime.

pub mod backend;
pub mod core;
pub mod kv;
pub mod model;
pub mod sampling;
pub mod tensor;
