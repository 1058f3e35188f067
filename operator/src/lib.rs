//! The operator: from `AMPDService` objects to what runs them.

pub mod condition;
mod text;
