//! The workers of a service: from a JSON file, or from the EndpointSlices of its Services.

mod discovery;
mod endpoints;
mod file;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use discovery::{ClusterError, Services, client, discover};
pub use endpoints::{MAX_MEMBERS, MAX_SLICES, Unusable, from_slices};
pub use file::follow;

/// Largest file, bytes: some thousand workers.
const MAX_FILE: u64 = 4 << 20;

/// A decode worker with its sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeMember {
    /// Its name, unique within the service.
    pub name: String,
    /// Base address of the worker's control API.
    pub worker_url: String,
    /// Base address of the sidecar's internal listener.
    pub sidecar_url: String,
    /// Where the worker moves KV, `host:port`.
    pub kv_addr: String,
    /// Its pod is about to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
}

/// A prefill worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillMember {
    /// Its name, unique within the service.
    pub name: String,
    /// Base address of the worker's control API.
    pub worker_url: String,
}

/// All workers of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The service's name.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Decode workers.
    pub decode: Vec<DecodeMember>,
    /// Prefill workers; none is legal.
    #[serde(default)]
    pub prefill: Vec<PrefillMember>,
}

/// Why a topology cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file cannot be read.
    #[error("cannot read the topology {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any topology.
    #[error("the topology {} has {bytes} bytes, at most {MAX_FILE} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not the JSON of a topology; the cause names line, column and field.
    #[error("the topology is not valid JSON of its form")]
    Json(#[from] serde_json::Error),
    /// A field holds something that cannot be used.
    #[error("topology field {field}: {what}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        what: String,
    },
}

impl Topology {
    /// Reads and checks a topology.
    ///
    /// # Errors
    /// When it is not JSON of the right form, or a name or an address cannot be used; the error names the field.
    pub fn parse(text: &[u8]) -> Result<Self, TopologyError> {
        let topology: Self = serde_json::from_slice(text)?;
        topology.check()?;
        Ok(topology)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or as [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let read = |source| TopologyError::Read { path: path.into(), source };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > MAX_FILE {
            return Err(TopologyError::TooLarge { path: path.into(), bytes });
        }
        Self::parse(&std::fs::read(path).map_err(read)?)
    }

    /// Whether nobody has told the service's workers yet.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.service.is_empty()
    }

    fn check(&self) -> Result<(), TopologyError> {
        let mut names = HashSet::new();
        check_name("service", &self.service)?;
        check_name("namespace", &self.namespace)?;
        for (index, member) in self.decode.iter().enumerate() {
            let field = |name: &str| format!("decode[{index}].{name}");
            check_member_name(field("name"), &member.name, &mut names)?;
            check_url(field("worker_url"), &member.worker_url)?;
            check_url(field("sidecar_url"), &member.sidecar_url)?;
            check_address(field("kv_addr"), &member.kv_addr)?;
        }
        for (index, member) in self.prefill.iter().enumerate() {
            check_member_name(format!("prefill[{index}].name"), &member.name, &mut names)?;
            check_url(format!("prefill[{index}].worker_url"), &member.worker_url)?;
        }
        Ok(())
    }
}

fn bad<T>(field: impl Into<String>, what: impl Into<String>) -> Result<T, TopologyError> {
    Err(TopologyError::Field { field: field.into(), what: what.into() })
}

/// Names go into metrics, certificates and logs: those of Kubernetes objects, and no others.
fn check_name(field: &str, name: &str) -> Result<(), TopologyError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) {
        return bad(field, format!("{name:?} is not 1 to 253 of a-z, 0-9, '-' and '.'"));
    }
    Ok(())
}

fn check_member_name<'a>(
    field: String,
    name: &'a str,
    names: &mut HashSet<&'a str>,
) -> Result<(), TopologyError> {
    check_name(&field, name)?;
    if names.insert(name) { Ok(()) } else { bad(field, format!("{name:?} is there twice")) }
}

fn check_url(field: String, url: &str) -> Result<(), TopologyError> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        Ok(_) => bad(field, format!("{url:?} is not an http or https address")),
        Err(error) => bad(field, format!("{url:?}: {error}")),
    }
}

fn check_address(field: String, address: &str) -> Result<(), TopologyError> {
    if is_host_port(address) { Ok(()) } else { bad(field, format!("{address:?} is not host:port")) }
}

/// Whether others can connect to `address`: a host, which is no placeholder for any, and a port.
pub(crate) fn is_host_port(address: &str) -> bool {
    let unspecified = address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    let parts = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(parts, Some((host, Ok(port))) if !host.is_empty() && port > 0) && !unspecified
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) const GOOD: &str = r#"{"service":"chat","namespace":"default",
        "decode":[{"name":"d0","worker_url":"http://127.0.0.1:1","sidecar_url":"http://127.0.0.1:2","kv_addr":"127.0.0.1:3"}],
        "prefill":[{"name":"p0","worker_url":"http://[::1]:4"}]}"#;

    #[test]
    fn fields_at_fault_are_named() {
        assert!(Topology::parse(GOOD.as_bytes()).is_ok());
        for (from, to, named) in [
            ("\"d0\"", "\"p0\"", "prefill[0].name"),
            ("\"d0\"", "\"D 0\"", "decode[0].name"),
            ("http://127.0.0.1:1", "127.0.0.1:1", "decode[0].worker_url"),
            ("http://127.0.0.1:2", "ftp://x", "decode[0].sidecar_url"),
            ("127.0.0.1:3", "127.0.0.1", "decode[0].kv_addr"),
            ("\"chat\"", "\"\"", "service"),
        ] {
            let error = Topology::parse(GOOD.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{error} should name {named}");
        }
        let unknown = Topology::parse(GOOD.replace("\"prefill\"", "\"prefil\"").as_bytes());
        assert!(matches!(unknown, Err(TopologyError::Json(error)) if error.to_string().contains("prefil")));
    }
}
