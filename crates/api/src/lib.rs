//! The `AMPDService` resource: types, validation and constants.
