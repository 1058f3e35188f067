//! The names that certificates carry.

use std::fmt;
use std::str::FromStr;

/// What a process does in its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Computes prefills for decode workers.
    Prefill,
    /// Owns sessions' KV and decodes.
    Decode,
    /// Schedules, and speaks with clients.
    Sidecar,
    /// Reads metrics, and nothing else.
    Monitor,
    /// Runs the service: reads metrics and the state of sidecars, and has them drained.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Prefill, Self::Decode, Self::Sidecar, Self::Monitor, Self::Operator];

    /// The role's name, as in URIs and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Sidecar => "sidecar",
            Self::Monitor => "monitor",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A role in a service: `ampd://{namespace}/{service}/{role}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The service's namespace.
    pub namespace: String,
    /// The service.
    pub service: String,
    /// What the process does in it.
    pub role: Role,
}

/// Text that is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form ampd://namespace/service/role")]
pub struct InvalidIdentity(String);

impl Identity {
    /// A role in a service. Namespace and service are names of Kubernetes objects.
    ///
    /// # Errors
    /// When a name is empty, longer than 253 bytes, or has other characters than lower-case letters, digits, `-` and `.`.
    pub fn new(namespace: &str, service: &str, role: Role) -> Result<Self, InvalidIdentity> {
        let valid = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        };
        if valid(namespace) && valid(service) {
            Ok(Self { namespace: namespace.to_owned(), service: service.to_owned(), role })
        } else {
            Err(InvalidIdentity(format!("ampd://{namespace}/{service}/{role}")))
        }
    }

    /// The SAN URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("ampd://{}/{}/{}", self.namespace, self.service, self.role)
    }

    /// The same service in another role.
    #[must_use]
    pub fn peer(&self, role: Role) -> Self {
        Self { role, ..self.clone() }
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity(text.chars().take(600).collect());
        let parts: Vec<_> = text.strip_prefix("ampd://").ok_or_else(invalid)?.split('/').collect();
        let [namespace, service, role] = parts[..] else { return Err(invalid()) };
        let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or_else(invalid)?;
        Self::new(namespace, service, role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_there_and_back() {
        for role in Role::ALL {
            let identity = Identity::new("team-a", "chat.v1", role).unwrap();
            assert_eq!(identity.uri().parse(), Ok(identity));
        }
        for bad in [
            "ampd://a/b",
            "ampd://a/b/c",
            "ampd://a/b/decode/",
            "ampd://a//decode",
            "http://a/b/decode",
            "ampd://A/b/decode",
            "ampd://a/b/Decode",
            "ampd://a/b?c/decode",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
