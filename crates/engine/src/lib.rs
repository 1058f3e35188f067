//! The inference engine: token ids in, token ids out. It knows no HTTP and no async runtime.

pub mod backend;
pub mod model;
