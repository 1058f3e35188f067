//! The operator: from `AMPDService` objects to what runs them.

mod calls;
pub mod condition;
pub mod error;
pub mod service;
