//! Why a round is not served, from the errors that lead to it.

use std::time::Duration;

use super::wire::Refusal;
use crate::protocol::{ClientError, ErrorCode, ErrorDetail};

/// When to come again after a refusal that has no better idea.
const RETRY_MS: u64 = 1000;

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail::new(code, message), retry_after_ms: None, lost: false, rounds: None }
    }

    /// Too much to do.
    pub(super) fn overloaded(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(RETRY_MS), ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// Nobody can serve it now.
    pub(super) fn none_ready(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(RETRY_MS), ..Self::new(ErrorCode::NotReady, message) }
    }

    /// The sidecar shuts down before the round is complete.
    pub(super) fn closing() -> Self {
        Self {
            retry_after_ms: Some(RETRY_MS),
            ..Self::new(ErrorCode::Draining, "the service shuts down before the round is complete")
        }
    }

    /// The decode worker was lost.
    pub(super) fn lost() -> Self {
        Self { lost: true, ..Self::none_ready("the session's decode worker was lost") }
    }

    /// The binding is void; a new one has to have an epoch above `fence`.
    pub(super) fn stale(fence: u64) -> Self {
        let mut refusal = Self::new(ErrorCode::StaleEpoch, "the binding is void");
        refusal.error.epoch = Some(fence);
        refusal
    }

    /// The session, which has had some rounds here, was bound anew after this epoch.
    pub(super) fn moved(epoch: u64, rounds: u64) -> Self {
        Self { rounds: Some(rounds), ..Self::stale(epoch) }
    }

    /// What a worker, or what stands between, said. Addresses and causes stay in the log.
    pub(super) fn from_client(error: &ClientError) -> Self {
        match error {
            ClientError::Refused { detail, retry_after, .. } => {
                let after = retry_after.as_ref().map(Duration::as_millis);
                Self { retry_after_ms: after.map(|ms| ms as u64), ..Self::from_detail(detail.clone()) }
            }
            ClientError::Status { status } if status.is_client_error() => {
                Self::new(ErrorCode::Internal, "the decode worker did not understand the round")
            }
            ClientError::Setup(_)
            | ClientError::Tls(_)
            | ClientError::TooLarge { .. }
            | ClientError::Answer(_)
            | ClientError::Event(_) => {
                Self::new(ErrorCode::Internal, "the decode worker's answer makes no sense")
            }
            ClientError::Status { .. }
            | ClientError::Connect(_)
            | ClientError::Call(_)
            | ClientError::Deadline { .. }
            | ClientError::Silent { .. }
            | ClientError::Stream(_) => Self::lost(),
        }
    }

    /// An error that the worker told.
    pub(super) fn from_detail(error: ErrorDetail) -> Self {
        let lost = matches!(error.code, ErrorCode::Draining | ErrorCode::NotReady | ErrorCode::EngineFailed);
        let again = lost || matches!(error.code, ErrorCode::Overloaded | ErrorCode::KvExhausted);
        Self { error, retry_after_ms: again.then_some(RETRY_MS), lost, rounds: None }
    }
}
