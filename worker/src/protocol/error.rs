//! Error bodies of the control API: `{"error":{"code":"stale_epoch","message":"..."}}`.

use serde::{Deserialize, Serialize};

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The body is not the JSON that the call takes; `param` names the field if there is one.
    InvalidJson,
    /// A parameter is out of range; `param` names it.
    InvalidParameter,
    /// A token id lies outside the vocabulary.
    InvalidToken,
    /// Prompt and output together exceed the context.
    ContextLengthExceeded,
    /// The session is bound with a newer epoch; `epoch` says which.
    StaleEpoch,
    /// The session already has a round.
    SessionBusy,
    /// The round does not exist (any more).
    UnknownRound,
    /// The round is not in a state for this call.
    WrongState,
    /// Too few KV blocks.
    KvExhausted,
    /// A queue or a table is full: try again later.
    Overloaded,
    /// One session more would have its objectives missed: come again later.
    Saturated,
    /// The worker shuts down.
    Draining,
    /// The worker cannot serve now.
    NotReady,
    /// A worker of the other role serves this call.
    WrongRole,
    /// The model computed logits that are not finite.
    NonFiniteLogits,
    /// The compute backend failed, or the engine stopped.
    EngineFailed,
    /// KV could not be moved.
    TransferFailed,
    /// The caller took the work back.
    Cancelled,
    /// A defect of the worker.
    Internal,
    /// One that this version does not know, or of the HTTP layer.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The code as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidToken => "invalid_token",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::StaleEpoch => "stale_epoch",
            Self::SessionBusy => "session_busy",
            Self::UnknownRound => "unknown_round",
            Self::WrongState => "wrong_state",
            Self::KvExhausted => "kv_exhausted",
            Self::Overloaded => "overloaded",
            Self::Saturated => "saturated",
            Self::Draining => "draining",
            Self::NotReady => "not_ready",
            Self::WrongRole => "wrong_role",
            Self::NonFiniteLogits => "non_finite_logits",
            Self::EngineFailed => "engine_failed",
            Self::TransferFailed => "transfer_failed",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> http::StatusCode {
        use http::StatusCode;
        match self {
            Self::InvalidJson | Self::InvalidParameter | Self::InvalidToken | Self::ContextLengthExceeded => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownRound | Self::WrongRole => StatusCode::NOT_FOUND,
            Self::StaleEpoch | Self::SessionBusy | Self::WrongState | Self::Cancelled => StatusCode::CONFLICT,
            Self::Saturated => StatusCode::TOO_MANY_REQUESTS,
            Self::KvExhausted | Self::Overloaded | Self::Draining | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NonFiniteLogits
            | Self::EngineFailed
            | Self::TransferFailed
            | Self::Internal
            | Self::Other => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// With `stale_epoch`: the epoch in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl ErrorDetail {
    /// An error without a field.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, epoch: None }
    }
}

/// The body of every error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_they_are_named_and_new_ones_are_read() {
        for code in [ErrorCode::StaleEpoch, ErrorCode::ContextLengthExceeded, ErrorCode::WrongRole] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        assert_eq!(serde_json::from_str::<ErrorCode>("\"of_tomorrow\"").unwrap(), ErrorCode::Other);
    }
}
