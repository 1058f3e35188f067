//! Helpers for tests: tiny random models, a fault-injecting TCP relay, process fixtures.

pub mod relay;
pub mod tiny_model;
