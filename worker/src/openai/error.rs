//! Errors as the OpenAI API tells them.

mod convert;

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Tells OpenAI's clients whether to send the request again, whatever the status.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Says that the service refuses new sessions, as it says on answers to rounds what becomes of them under overload.
const OVERLOAD: HeaderName = HeaderName::from_static("x-ampd-overload");

/// Most characters of a message: what it quotes of the request may be long.
const MAX_MESSAGE: usize = 500;

/// Why a request gets no answer, or no whole one. Made for the client: its message names no addresses, files or other
/// inner parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_deref().unwrap_or(self.kind()))]
pub struct ApiError {
    /// The status, if nothing of the answer has been sent.
    pub status: StatusCode,
    /// For people.
    pub message: String,
    /// The field at fault, such as `messages[3].content`.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<Cow<'static, str>>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Whether to try again, where the status alone says the wrong thing.
    pub should_retry: Option<bool>,
    /// Closes the connection after the answer.
    pub close: bool,
}

impl ApiError {
    /// An error about the request as a whole.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: shortened(message.into()),
            param: None,
            code: Some(Cow::Borrowed(code)),
            retry_after: None,
            should_retry: None,
            close: false,
        }
    }

    /// 400: the field `param` is not as it must be.
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).param(param)
    }

    /// 400: the field `param` asks for something that would change the answer and is not built yet.
    #[must_use]
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_parameter", message).param(param)
    }

    /// 404: no such model is served.
    #[must_use]
    pub fn unknown_model(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        let message = format!("The model {name:?} does not exist. GET /v1/models lists those that do.");
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message).param("model")
    }

    /// 400: prompt and output together do not fit the context. All counts are in tokens.
    #[must_use]
    pub fn context_length(param: &str, prompt: usize, max_tokens: Option<usize>, context: usize) -> Self {
        let message = match max_tokens {
            Some(output) => format!(
                "This model's maximum context length is {context} tokens, but {} were requested: {prompt} in the \
                 prompt and {output} for the output.",
                prompt.saturating_add(output)
            ),
            None => format!(
                "This model's maximum context length is {context} tokens, but the prompt has {prompt}, which leaves \
                 none for the output."
            ),
        };
        Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message).param(param)
    }

    /// 503: nobody can serve the request now.
    #[must_use]
    pub fn unavailable(code: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// 503: the decode worker, or the way to it, was lost.
    #[must_use]
    pub fn worker_lost() -> Self {
        let message = "The worker of this session was lost. The next request continues on another one.";
        Self::unavailable("worker_lost", message, Duration::from_secs(1))
    }

    /// 500: a worker's events are not what the request asked it for.
    #[must_use]
    pub fn nonsense() -> Self {
        let message = "The worker gave an answer that makes no sense.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// The same with the field at fault.
    #[must_use]
    pub fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(shortened(param.into())), ..self }
    }

    /// The same, telling clients to try again or not.
    #[must_use]
    pub fn retry(self, should_retry: bool) -> Self {
        Self { should_retry: Some(should_retry), ..self }
    }

    /// OpenAI's class of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// `{"error":{"message","type","param","code"}}`.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(OVERLOAD, HeaderValue::from_static("shed"));
        }
        if let Some(retry) = self.should_retry {
            let value = if retry { "true" } else { "false" };
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(value));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The beginning of a text that is too long.
fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_every_field_and_headers_say_when_to_come_again() {
        let body = ApiError::invalid("top_p", "no").body();
        assert_eq!(
            body,
            json!({"error": {
                "message": "no", "type": "invalid_request_error", "param": "top_p", "code": "invalid_value",
            }})
        );
        let error = ApiError::unavailable("overloaded", "full", Duration::from_millis(300)).retry(true);
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-should-retry"], "true");
        assert!(!response.headers().contains_key("connection"));
    }

    #[test]
    fn messages_have_an_end() {
        let error = ApiError::invalid("x".repeat(1000), "é".repeat(1000));
        assert_eq!(error.message.chars().count(), MAX_MESSAGE + 1);
        assert_eq!(error.param.unwrap().chars().count(), MAX_MESSAGE + 1);
        assert!(ApiError::unknown_model(&"m".repeat(1000)).message.len() < 300);
    }

    #[test]
    fn a_context_that_is_too_long_is_told_with_its_numbers() {
        let error = ApiError::context_length("messages", 100, Some(usize::MAX), 512);
        assert!(error.message.contains("512") && error.message.contains("100 in the prompt"), "{error}");
        assert!(error.message.contains(&usize::MAX.to_string()));
        assert_eq!(error.code.as_deref(), Some("context_length_exceeded"));
    }
}
