//! Errors of the HTTP layer itself, as JSON bodies.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// A request that is refused before a handler looks at what it means. Its body has OpenAI's shape, which the control
/// API's error bodies are a part of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HttpError {
    /// The status.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
    /// Tells the client when to try again.
    pub retry_after: Option<Duration>,
    /// Closes the connection after the answer: what follows on it cannot be trusted or is not worth reading.
    pub close: bool,
}

impl HttpError {
    /// An error about the request as a whole.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after: None, close: false }
    }

    /// The same with the field at fault.
    #[must_use]
    pub fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same, ending the connection.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// OpenAI's class of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.status.is_client_error() { "invalid_request_error" } else { "server_error" }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }});
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
