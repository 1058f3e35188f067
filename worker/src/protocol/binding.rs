//! Binding a session to a decode worker.

use serde::{Deserialize, Serialize};

/// Body of `POST /internal/v1/bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The session's name.
    pub session: String,
    /// The binding's epoch; every new binding of a session has a higher one.
    pub epoch: u64,
}

/// The worker has taken the binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindAck {
    /// Tokens of KV that a new round could have.
    pub kv_free_tokens: u64,
    /// Tokens of KV in the pool.
    pub kv_total_tokens: u64,
    /// Sessions held.
    pub sessions: u64,
    /// Rounds that decode now.
    pub running: u64,
}
