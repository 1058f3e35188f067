//! Prefill tasks: what a decode worker sends to a prefill worker, and what comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ErrorDetail, Salt};

/// Body of `POST /internal/v1/prefills`: compute the KV of `tokens[history..]` and push it to the decode worker.
/// Dropping the response cancels the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillTask {
    /// The decode worker's name for it.
    pub task: String,
    /// The client's request.
    pub request_id: String,
    /// The session.
    pub session: String,
    /// The tenant's salt.
    pub salt: Salt,
    /// All tokens whose KV the round needs before its last one.
    pub tokens: Vec<u32>,
    /// Tokens whose KV the decode worker has and hands out.
    pub history: usize,
    /// Handle of the transfer, hexadecimal.
    pub handle: String,
    /// Where the decode worker moves KV, `host:port`.
    pub kv_addr: String,
    /// The name in the decode worker's certificate, a SAN URI.
    pub kv_server_name: String,
    /// Milliseconds since the round arrived.
    pub age_ms: u64,
    /// The round's TTFT objective, milliseconds.
    pub ttft_slo_ms: u64,
}

/// A line of the answer to a prefill task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefillEvent {
    /// The task is in the queue.
    Queued {
        /// Tasks before it.
        position: u64,
    },
    /// The worker lives; every 500 ms.
    Ping {},
    /// The task computes.
    Started {},
    /// All KV is pushed and accepted.
    Done(PrefillDone),
    /// The task failed.
    Error(ErrorDetail),
}

/// What a prefill took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PrefillDone {
    /// Seconds in the queue, pulling excepted.
    pub queue_s: f64,
    /// Seconds pulling history.
    pub pull_s: f64,
    /// Seconds from the start of computing until all KV was accepted.
    pub compute_s: f64,
    /// History tokens that were pulled.
    pub pulled_tokens: u64,
    /// Tokens that the prefill worker's prefix cache had.
    pub cached_tokens: u64,
}

/// When a remote prefill that is predicted to take `predicted_s` seconds, what waits before it included, is given up. To
/// give it up costs a local prefill beside the time that was lost, so predictions may be far off: eight times that, while
/// it is no more than half a minute, and never less than twice. The least lies above the limit of silence, so that a frozen
/// worker is called frozen.
#[must_use]
pub fn prefill_deadline(predicted_s: f64) -> Duration {
    let generous_s = (8.0 * predicted_s).min(30.0).max(2.0 * predicted_s);
    Duration::from_secs_f64(generous_s.clamp(2.5, MAX_PREFILL_DEADLINE.as_secs_f64()))
}

/// The longest deadline of a remote prefill.
pub const MAX_PREFILL_DEADLINE: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_below_its_prediction() {
        let seconds = |predicted_s| prefill_deadline(predicted_s).as_secs_f64();
        assert_eq!([0.0, 1.0, 3.75, 10.0, 34.0].map(seconds), [2.5, 8.0, 30.0, 30.0, 68.0]);
        assert_eq!([1e9, f64::INFINITY].map(seconds), [600.0; 2]);
        assert_eq!(seconds(f64::NAN), 30.0);
    }
}
