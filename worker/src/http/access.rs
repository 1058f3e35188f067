//! Who may ask for what on a server with certificates.

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use super::HttpError;

/// Methods with their paths.
pub type Paths = &'static [(&'static str, &'static str)];

/// What everybody may ask for, with a certificate or without: the probes of the node's kubelet have none. The answers
/// tell the state of the process and nothing of the service's clients.
pub const PROBES: Paths = &[("GET", "/healthz"), ("GET", "/readyz")];
/// What monitoring reads.
pub const METRICS: Paths = &[("GET", "/metrics"), ("GET", "/metrics/load")];

/// The callers that a server knows by their certificates.
#[derive(Debug, Clone, Default)]
pub struct Access {
    callers: Vec<(String, Rights)>,
}

/// What a caller may ask for besides [`PROBES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Everything that there is.
    All,
    /// These paths.
    Only(&'static [Paths]),
}

/// Those of somebody who is nobody here.
pub(super) const STRANGER: Rights = Rights::Only(&[]);

impl Access {
    /// The same with rights for whoever has a certificate with this SAN URI.
    #[must_use]
    pub fn with(mut self, uri: String, rights: Rights) -> Self {
        self.callers.push((uri, rights));
        self
    }

    /// The rights of a connection whose client has shown a certificate with this URI, or none.
    pub(super) fn of(&self, uri: Option<&str>) -> Rights {
        let known = self.callers.iter().find(|(known, _)| Some(known.as_str()) == uri);
        known.map_or(STRANGER, |(_, rights)| *rights)
    }
}

impl Rights {
    pub(super) fn allow(self, method: &Method, path: &str) -> bool {
        let listed = |paths: &Paths| paths.contains(&(method.as_str(), path));
        match self {
            Self::All => true,
            Self::Only(paths) => listed(&PROBES) || paths.iter().any(listed),
        }
    }
}

/// The answer to a request that its sender may not make.
pub(super) fn refused() -> Response {
    let message = "this needs a certificate of the service in another role";
    HttpError::new(StatusCode::FORBIDDEN, "forbidden", message).closing().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_is_listed() {
        let access = Access::default()
            .with("all".into(), Rights::All)
            .with("some".into(), Rights::Only(&[METRICS, &[("POST", "/drain")]]));
        let (all, some) = (access.of(Some("all")), access.of(Some("some")));
        let allowed = |rights: Rights, method: Method, path| rights.allow(&method, path);
        for path in ["/healthz", "/readyz"] {
            for rights in [all, some, access.of(None), access.of(Some("al"))] {
                assert!(allowed(rights, Method::GET, path));
            }
            assert!(!allowed(access.of(None), Method::POST, path));
        }
        for path in ["/metrics", "/healthz/", "/healthz/../metrics", "//healthz", "/HEALTHZ", "/", "*"] {
            assert!(!allowed(access.of(None), Method::GET, path), "{path}");
            assert!(allowed(all, Method::GET, path), "{path}");
        }
        assert!(allowed(some, Method::GET, "/metrics/load") && allowed(some, Method::POST, "/drain"));
        assert!(!allowed(some, Method::GET, "/drain") && !allowed(some, Method::POST, "/metrics"));
    }
}
