//! The operator: from `AMPDService` objects to what runs them.
