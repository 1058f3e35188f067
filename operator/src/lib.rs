//! The operator: from `AMPDService` objects to what runs them.

pub mod condition;
pub mod lease;
mod text;
