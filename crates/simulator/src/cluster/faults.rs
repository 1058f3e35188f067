//! What goes wrong.

use serde::Serialize;

/// A worker's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Prefill.
    Prefill,
    /// Decode.
    Decode,
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// It is gone with all its KV. Its prefills run locally instead; its sessions are bound anew and computed again.
    Down,
    /// Its steps last this many times as long.
    Slow(f64),
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// When it begins, seconds.
    pub from_s: f64,
    /// When it is over, seconds.
    pub until_s: f64,
    /// The worker's role.
    pub role: Role,
    /// Which worker of that role, from 0.
    pub worker: u32,
    /// What happens.
    pub kind: FaultKind,
}
