//! Errors of the control API, and how the engine's become them.

use std::time::Duration;

use ampd_engine::core::{EngineError, RoundError};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::engine::EngineGone;
use crate::http::HttpError;
use crate::process::chain;
use crate::protocol::{ErrorBody, ErrorCode, ErrorDetail};

/// When a refused caller should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error response.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The control API's own.
    Detail(ErrorDetail),
    /// Of the HTTP layer, such as a body that is no JSON.
    Http(HttpError),
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Detail(ErrorDetail::new(code, message))
    }

    /// A parameter out of its range.
    pub(super) fn parameter(field: &str, reason: &str) -> Self {
        let message = format!("{field} {reason}");
        Self::Detail(ErrorDetail {
            param: Some(field.to_owned()),
            ..ErrorDetail::new(ErrorCode::InvalidParameter, message)
        })
    }
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<EngineGone> for ApiError {
    fn from(gone: EngineGone) -> Self {
        Self::new(ErrorCode::EngineFailed, gone.to_string())
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::Detail(engine_detail(&error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = match self {
            Self::Http(error) => return error.into_response(),
            Self::Detail(detail) => detail,
        };
        let status = detail.code.status();
        let mut response = (status, axum::Json(ErrorBody { error: detail })).into_response();
        if status == http::StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        response
    }
}

/// What the engine refused.
pub(super) fn engine_detail(error: &EngineError) -> ErrorDetail {
    let (code, param) = match error {
        EngineError::UnknownRound(_) => (ErrorCode::UnknownRound, None),
        EngineError::WrongState { .. }
        | EngineError::NothingRemote { .. }
        | EngineError::SessionHeld { .. }
        | EngineError::SessionNotHeld { .. } => (ErrorCode::WrongState, None),
        EngineError::StaleEpoch { .. } => (ErrorCode::StaleEpoch, None),
        EngineError::ContextLength { .. } => (ErrorCode::ContextLengthExceeded, None),
        EngineError::KvExhausted { .. } => (ErrorCode::KvExhausted, None),
        EngineError::TooManyRounds { .. } | EngineError::TooManySessions { .. } => {
            (ErrorCode::Overloaded, None)
        }
        EngineError::SessionBusy { .. } => (ErrorCode::SessionBusy, None),
        EngineError::InvalidToken { index, .. } => {
            (ErrorCode::InvalidToken, Some(format!("tokens[{index}]")))
        }
        EngineError::InvalidParameter { field, .. } => {
            (ErrorCode::InvalidParameter, Some((*field).to_owned()))
        }
        EngineError::OutOfRange { .. }
        | EngineError::TransferLength { .. }
        | EngineError::IncompleteTransfer { .. } => (ErrorCode::TransferFailed, None),
        EngineError::Backend(_) => (ErrorCode::EngineFailed, None),
        EngineError::Ledger(_) => (ErrorCode::Internal, None),
    };
    let epoch = match error {
        EngineError::StaleEpoch { current } => Some(*current),
        _ => None,
    };
    ErrorDetail { code, message: chain(error), param, epoch }
}

/// Why a round failed while it ran.
pub(super) fn round_detail(error: &RoundError) -> ErrorDetail {
    let code = match error {
        RoundError::NonFiniteLogits => ErrorCode::NonFiniteLogits,
        RoundError::KvExhausted { .. } => ErrorCode::KvExhausted,
        RoundError::Backend { .. } => ErrorCode::EngineFailed,
    };
    ErrorDetail::new(code, error.to_string())
}
