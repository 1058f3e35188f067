//! The `AMPDService` resource: its types, its schema, and manifests of it.
//!
//! [`AMPDService`] is what a cluster stores. [`parse`] reads a manifest and tells everything that is wrong with it, by the
//! same schema that a cluster would check; [`Service`] is a manifest with every default filled in and every text read.

mod definition;
mod manifest;
pub mod resolved;
mod schema;
pub mod service;
pub mod values;

pub use definition::{crd, crds};
pub use manifest::{FieldError, FieldErrors, MAX_BYTES, parse};
pub use resolved::Service;
pub use service::{AMPDPrefillScale, AMPDService, AMPDServiceSpec, AMPDServiceStatus};

/// The group of the resource.
pub const GROUP: &str = "ampd.dev";
/// The version of the resource.
pub const VERSION: &str = "v1alpha1";
/// The kind of the resource.
pub const KIND: &str = "AMPDService";
