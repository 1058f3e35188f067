//! The names of a service's children. A service's name has at most 40 characters, so that all of these fit.

use crate::Role;

/// The front Service, which clients speak with: it has the service's own name.
#[must_use]
pub fn front(service: &str) -> String {
    service.to_owned()
}

/// The headless Service of a role's pods of one revision.
#[must_use]
pub fn members(service: &str, role: Role, revision: &str) -> String {
    format!("{service}-{role}-{revision}")
}

/// The Deployment of a role's pods of one parallel degree and one revision.
#[must_use]
pub fn deployment(service: &str, role: Role, degree: u32, revision: &str) -> String {
    format!("{service}-{role}-tp{degree}-{revision}")
}

/// What a role's pods run as, and what else there is once for a role.
#[must_use]
pub fn role(service: &str, role: Role) -> String {
    format!("{service}-{role}")
}

/// The Secret with the key of the service's certificate authority.
#[must_use]
pub fn authority(service: &str) -> String {
    format!("{service}-ca")
}

/// The Secret with the certificate of an identity: `decode`, `prefill`, `sidecar` or `monitor`.
#[must_use]
pub fn certificate(service: &str, identity: &str) -> String {
    format!("{service}-tls-{identity}")
}

/// The Secret with which sidecars hash the names of sessions.
#[must_use]
pub fn session_secret(service: &str) -> String {
    format!("{service}-sessions")
}

/// The Secret with the API's keys, where the operator makes it.
#[must_use]
pub fn api_keys(service: &str) -> String {
    format!("{service}-api-keys")
}
