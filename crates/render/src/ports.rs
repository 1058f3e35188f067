//! The ports of pods and Services, and the names by which EndpointSlices give them.

/// A port with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its name, as in EndpointSlices.
    pub name: &'static str,
    /// Its number.
    pub number: i32,
}

/// The `OpenAI` API of a sidecar, plain HTTP.
pub const API: Port = Port { name: "http", number: 8000 };
/// The control API of a worker, under TLS with certificates on both sides.
pub const CONTROL: Port = Port { name: "control", number: 8100 };
/// KV transfer of a decode worker, likewise.
pub const KV: Port = Port { name: "kv", number: 8200 };
/// A sidecar's listener for the other sidecars, probes and metrics, likewise.
pub const SIDECAR: Port = Port { name: "sidecar", number: 8300 };
/// The port of the front Service.
pub const FRONT: i32 = 80;
