//! Answers as the API writes them.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::BoxError;

/// A body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A request that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

impl Refused {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    pub fn not_found(name: &str) -> Self {
        Self::new(404, "NotFound", format!("\"{name}\" not found"))
    }

    pub fn unknown_path(path: &str) -> Self {
        Self::new(404, "NotFound", format!("the server could not find the requested resource {path}"))
    }

    /// The object that says so.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

/// An answer with JSON in it.
pub(crate) fn respond(answer: Result<(u16, Value), Refused>) -> Response<Body> {
    let (code, value) = answer.unwrap_or_else(|refused| (refused.code, refused.status()));
    let body = Full::new(Bytes::from(value.to_string()));
    with_body(code, body.map_err(|never| match never {}).boxed_unsync())
}

/// An answer that is none.
pub(crate) fn nonsense() -> Response<Body> {
    let body = Full::new(Bytes::from_static(b"<html>this is not the API server</html>"));
    with_body(200, body.map_err(|never| match never {}).boxed_unsync())
}

/// An answer with this body.
pub(crate) fn with_body(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// An object's metadata alone, as its own kind.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
    })
}
