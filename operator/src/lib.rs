//! The operator: from `AMPDService` objects to what runs them.

pub mod access;
mod args;
mod backoff;
mod calls;
mod capabilities;
pub mod condition;
pub mod context;
pub mod controller;
pub mod error;
pub mod health;
pub mod lease;
pub mod report;
mod run;
pub mod service;
mod text;
mod verify;

pub use args::Args;
pub use run::{RunError, main};
