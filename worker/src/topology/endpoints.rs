//! From the EndpointSlices of a service's two Services to its topology.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{DecodeMember, PrefillMember, Topology, check_name};

/// Slices of one Service that are looked at. Kubernetes fills them with 100 endpoints each.
pub const MAX_SLICES: usize = 1024;
/// Workers of one role.
pub const MAX_MEMBERS: usize = 8192;

/// The ports of workers and sidecars, by the names that the Services give them.
const CONTROL: &str = "control";
const KV: &str = "kv";
const SIDECAR: &str = "sidecar";

/// Something in the slices that cannot be used; the rest is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unusable {
    /// An endpoint that is no pod has no name.
    #[error("an endpoint of slice {slice} is no pod with a name")]
    NoPod {
        /// The slice.
        slice: String,
    },
    /// An address that is none.
    #[error("pod {pod} has no IP address that others can use")]
    Address {
        /// The pod.
        pod: String,
    },
    /// A port that is missing.
    #[error("pod {pod} has no TCP port named {port}")]
    Port {
        /// The pod.
        pod: String,
        /// The port's name.
        port: &'static str,
    },
    /// A pod that both Services select.
    #[error("pod {pod} is a decode and a prefill worker; it is taken for a decode worker")]
    Twice {
        /// The pod.
        pod: String,
    },
    /// More workers than a service may have.
    #[error("{count} workers of one role, {MAX_MEMBERS} of them are used")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// A pod as one slice has it.
struct Pod<'a> {
    rank: Rank<'a>,
    ip: IpAddr,
    slice: &'a EndpointSlice,
}

/// Which of several endpoints of one pod counts: one that does not terminate (a pod that was made anew under the same name
/// and the one before it are in the slices together for a moment), IPv4 where there are both, and the newest slice; the
/// rest only makes the choice always the same.
type Rank<'a> = (bool, bool, Option<&'a Time>, &'a str, IpAddr);

/// The topology that the slices of both Services describe, and what in them cannot be used. Endpoints count whether they
/// are ready or not, and also while they terminate: running rounds and transfers need their addresses to the end, and the
/// sidecars themselves ask each worker whether it takes anything new.
#[must_use]
pub fn from_slices<'a>(
    namespace: &str,
    service: &str,
    decode: impl IntoIterator<Item = &'a EndpointSlice>,
    prefill: impl IntoIterator<Item = &'a EndpointSlice>,
) -> (Topology, Vec<Unusable>) {
    let mut unusable = Vec::new();
    let (decode, prefill) = (pods(decode, &mut unusable), pods(prefill, &mut unusable));
    let mut topology =
        Topology { service: service.to_owned(), namespace: namespace.to_owned(), ..Topology::default() };
    for (name, pod) in &decode {
        let ports = (pod.port(CONTROL), pod.port(SIDECAR), pod.port(KV));
        let (Ok(control), Ok(sidecar), Ok(kv)) = ports else {
            let missing = [ports.0, ports.1, ports.2].into_iter().filter_map(Result::err);
            unusable.extend(missing.map(|port| Unusable::Port { pod: (*name).to_owned(), port }));
            continue;
        };
        topology.decode.push(DecodeMember {
            name: (*name).to_owned(),
            worker_url: format!("https://{control}"),
            sidecar_url: format!("https://{sidecar}"),
            kv_addr: kv.to_string(),
            ends: pod.ends(),
        });
    }
    for (name, pod) in &prefill {
        let name = (*name).to_owned();
        match pod.port(CONTROL) {
            _ if decode.contains_key(name.as_str()) => unusable.push(Unusable::Twice { pod: name }),
            Ok(control) => {
                topology.prefill.push(PrefillMember { name, worker_url: format!("https://{control}") });
            }
            Err(port) => unusable.push(Unusable::Port { pod: name, port }),
        }
    }
    for count in [topology.decode.len(), topology.prefill.len()] {
        if count > MAX_MEMBERS {
            unusable.push(Unusable::TooMany { count });
        }
    }
    topology.decode.truncate(MAX_MEMBERS);
    topology.prefill.truncate(MAX_MEMBERS);
    unusable.sort();
    unusable.dedup();
    (topology, unusable)
}

/// The pods of some slices by name, each once.
fn pods<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    unusable: &mut Vec<Unusable>,
) -> BTreeMap<&'a str, Pod<'a>> {
    let mut pods: BTreeMap<&str, Pod<'_>> = BTreeMap::new();
    for slice in slices.into_iter().take(MAX_SLICES) {
        let slice_name = slice.metadata.name.as_deref().unwrap_or_default();
        for endpoint in &slice.endpoints {
            let Some(name) = pod_name(endpoint) else {
                unusable.push(Unusable::NoPod { slice: slice_name.to_owned() });
                continue;
            };
            let Some(ip) = ip(endpoint) else {
                unusable.push(Unusable::Address { pod: name.to_owned() });
                continue;
            };
            let ends = endpoint.conditions.as_ref().and_then(|conditions| conditions.terminating);
            let made = slice.metadata.creation_timestamp.as_ref();
            let rank = (ends != Some(true), ip.is_ipv4(), made, slice_name, ip);
            if pods.get(name).is_none_or(|known| known.rank < rank) {
                pods.insert(name, Pod { rank, ip, slice });
            }
        }
    }
    pods
}

fn pod_name(endpoint: &Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    target.name.as_deref().filter(|name| check_name("pod", name).is_ok())
}

/// The first address; Kubernetes gives all the same meaning and says that only the first is to be used.
fn ip(endpoint: &Endpoint) -> Option<IpAddr> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    (!ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
}

impl Pod<'_> {
    fn ends(&self) -> bool {
        !self.rank.0
    }

    /// Where a port of the pod is; its name when there is none.
    fn port(&self, name: &'static str) -> Result<SocketAddr, &'static str> {
        let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let ports = self.slice.ports.iter().flatten();
        let found = ports.filter(|port| port.name.as_deref() == Some(name) && tcp(&port.protocol));
        let number = found.filter_map(|port| u16::try_from(port.port?).ok()).find(|number| *number > 0);
        number.map(|number| SocketAddr::new(self.ip, number)).ok_or(name)
    }
}

#[cfg(test)]
mod tests;
