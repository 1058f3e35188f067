//! Sessions that move from one decode worker to another: the new owner pulls what the old one holds.

use serde::{Deserialize, Serialize};

use super::Salt;

/// Answer of `GET /internal/v1/sessions`: what would be lost with the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Idle sessions that hold KV, those used last first, at most [`MAX_SESSIONS`].
    pub idle: Vec<HeldSession>,
    /// Sessions that have a round, and may be idle soon.
    pub busy: u64,
}

/// Sessions told at once.
pub const MAX_SESSIONS: usize = 1024;

/// An idle session that holds KV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSession {
    /// Its name.
    pub session: String,
    /// The epoch that it is bound with.
    pub epoch: u64,
    /// Tokens whose KV it holds.
    pub tokens: u64,
}

/// Body of `POST /internal/v1/sessions/pull`, for the worker that the session is bound to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullSession {
    /// The session.
    pub session: String,
    /// The epoch of its binding.
    pub epoch: u64,
    /// The control API of the decode worker that holds its KV.
    pub from: String,
}

/// The session holds its KV here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledSession {
    /// Tokens whose KV it holds.
    pub tokens: u64,
    /// Those of them that came from the other worker; the rest was in the prefix cache.
    pub pulled_tokens: u64,
}

/// Body of `POST /internal/v1/sessions/describe`, from the decode worker that pulls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeSession {
    /// The session.
    pub session: String,
}

/// What a session holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionContent {
    /// The tenant's salt.
    pub salt: Salt,
    /// All tokens whose KV it holds.
    pub tokens: Vec<u32>,
    /// Milliseconds since it was used.
    pub idle_ms: u64,
}

/// Body of `POST /internal/v1/sessions/push`, from the decode worker that pulls: write the KV of `tokens[history..]` there,
/// and let the session go. The answer comes when all of it is accepted; a caller that goes away cancels it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushSession {
    /// The session.
    pub session: String,
    /// The epoch of its new binding: rounds of older ones are refused from then on.
    pub epoch: u64,
    /// The tenant's salt.
    pub salt: Salt,
    /// The tokens that the session must hold.
    pub tokens: Vec<u32>,
    /// Tokens whose KV the caller has.
    pub history: usize,
    /// Handle of the transfer, hexadecimal.
    pub handle: String,
    /// Where the caller moves KV, `host:port`.
    pub kv_addr: String,
}

/// All KV is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedSession {}
