//! The operator: from `AMPDService` objects to what runs them.

pub mod condition;
pub mod health;
pub mod lease;
pub mod report;
mod text;
