//! What a pod is for.

use std::fmt;

use ampd_api::Service;
use ampd_api::service::AMPDServiceSpec;
use ampd_api::{resolved, service};

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Owns sessions and decodes; its pods have a sidecar.
    Decode,
    /// Computes prefills for decode workers.
    Prefill,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Decode, Self::Prefill];

    /// As names, labels and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }

    /// What the manifest says of the role.
    #[must_use]
    pub fn spec(self, spec: &AMPDServiceSpec) -> &service::Role {
        match self {
            Self::Decode => &spec.decode,
            Self::Prefill => &spec.prefill,
        }
    }

    /// The same with its texts read.
    #[must_use]
    pub fn of(self, service: &Service) -> &resolved::Role {
        match self {
            Self::Decode => &service.decode,
            Self::Prefill => &service.prefill,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
