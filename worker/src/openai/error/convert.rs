//! Errors of the parts below, as the client may see them.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::ApiError;
use crate::http::HttpError;
use crate::protocol::{ErrorCode, ErrorDetail};
use crate::text::{ChatError, TemplateError};

/// When to come again where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

impl From<ErrorDetail> for ApiError {
    /// A worker's words reach the client only where they are about the client's own parameters.
    fn from(detail: ErrorDetail) -> Self {
        let internal =
            |message: &str| Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message);
        match detail.code {
            ErrorCode::ContextLengthExceeded | ErrorCode::InvalidParameter | ErrorCode::InvalidToken => {
                let code = match detail.code {
                    ErrorCode::ContextLengthExceeded => "context_length_exceeded",
                    _ => "invalid_value",
                };
                Self { param: detail.param, ..Self::new(StatusCode::BAD_REQUEST, code, detail.message) }
            }
            // Sent again at once, it would find the other round still there.
            ErrorCode::SessionBusy => {
                let message = "The session already has a running request.";
                Self::new(StatusCode::CONFLICT, "session_busy", message).retry(false)
            }
            ErrorCode::KvExhausted => {
                Self::unavailable("overloaded", "The session's worker has too little memory left now.", SOON)
            }
            ErrorCode::Overloaded => {
                Self::unavailable("overloaded", "Too many requests are waiting already.", SOON)
            }
            ErrorCode::Saturated => {
                let message =
                    "The service has as many sessions as it can serve in time. New ones are let in later.";
                let refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_sessions", message);
                Self { retry_after: Some(SOON), ..refused }
            }
            ErrorCode::Draining => Self::unavailable("shutting_down", "The service is shutting down.", SOON),
            ErrorCode::NotReady => {
                Self::unavailable("not_ready", "No worker is ready for the session now.", SOON)
            }
            ErrorCode::StaleEpoch
            | ErrorCode::UnknownRound
            | ErrorCode::WrongState
            | ErrorCode::WrongRole
            | ErrorCode::Cancelled => {
                Self::unavailable("session_moved", "The session has just moved to another worker.", SOON)
            }
            // The same prompt would give the same logits.
            ErrorCode::NonFiniteLogits => {
                internal("The model computed values that are not numbers.").retry(false)
            }
            ErrorCode::InvalidJson
            | ErrorCode::EngineFailed
            | ErrorCode::TransferFailed
            | ErrorCode::Internal
            | ErrorCode::Other => internal("The request could not be computed."),
        }
    }
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        Self {
            param: error.param,
            code: Some(Cow::Borrowed(error.code)),
            retry_after: error.retry_after,
            close: error.close,
            ..Self::new(error.status, error.code, error.message)
        }
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::NoTemplate => Self::unsupported(
                "model",
                "The model has no chat template: use /v1/completions with a prompt of your own.",
            ),
            ChatError::Template(TemplateError::Refused(message)) => Self::invalid(
                "messages",
                format!("The model's chat template does not take these messages: {message}"),
            ),
            ChatError::Template(TemplateError::Failed(_)) => {
                Self::invalid("messages", "The model's chat template cannot render these messages.")
            }
            ChatError::Text(_) => Self::invalid("messages", "The messages cannot be tokenised."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_words_stay_inside() {
        for code in
            [ErrorCode::Internal, ErrorCode::EngineFailed, ErrorCode::Draining, ErrorCode::SessionBusy]
        {
            let error = ApiError::from(ErrorDetail::new(code, "10.0.0.1:9000 /models/secret"));
            assert!(!error.message.contains("10.0.0.1"), "{error}");
        }
    }

    #[test]
    fn refusals_for_want_of_room_say_when_to_come_again() {
        let error = |code| ApiError::from(ErrorDetail::new(code, "x"));
        assert_eq!(error(ErrorCode::KvExhausted).retry_after, Some(SOON));
        let saturated = error(ErrorCode::Saturated);
        assert_eq!((saturated.status.as_u16(), saturated.kind()), (429, "rate_limit_error"));
        assert_eq!(saturated.retry_after, Some(SOON));
        assert_eq!(error(ErrorCode::SessionBusy).should_retry, Some(false));
    }

    #[test]
    fn the_field_at_fault_is_kept() {
        let detail = ErrorDetail {
            param: Some("logit_bias".into()),
            ..ErrorDetail::new(ErrorCode::InvalidParameter, "x")
        };
        let error = ApiError::from(detail);
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("logit_bias")));
        let error =
            ApiError::from(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "x").closing());
        assert!(error.close && error.status == 413);
        assert_eq!(ApiError::from(ChatError::NoTemplate).status, 400);
    }
}
