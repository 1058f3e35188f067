//! Helpers for tests: tiny random models, a fault-injecting TCP relay, a stand-in for Hugging Face, process fixtures.

pub mod chat;
pub mod cluster;
pub mod crowd;
pub mod fake_hub;
pub mod official;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod relay;
pub mod tiny_model;
pub mod wait;
