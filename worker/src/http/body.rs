//! Reading request bodies within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::HttpError;

/// Bounds of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: usize,
    /// From the first wait to the last byte.
    pub timeout: Duration,
}

/// KiB that the bodies of this process may take together while they are read and understood.
static ROOM: Semaphore = Semaphore::const_new(512 << 10);

/// A body; it counts against the room of all bodies until it is dropped.
#[derive(Debug)]
pub struct WholeBody {
    bytes: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for WholeBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 8 << 20, timeout: Duration::from_secs(30) }
    }
}

/// Reads a whole body.
///
/// # Errors
/// 413 when it is (or says that it will be) too large, 408 when it takes too long, 400 when it breaks off, 503 when all
/// bodies together are too large.
pub async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<WholeBody, HttpError> {
    let too_large = || {
        let message = format!("the body exceeds {} bytes", limits.bytes);
        HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).closing()
    };
    let full = || {
        let message = "the bodies of all requests take too much memory now";
        HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).closing()
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limits.bytes as u64) {
        return Err(too_large());
    }
    let whole = async {
        let mut body = body;
        let mut read = BytesMut::new();
        let mut room: Option<SemaphorePermit<'static>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                HttpError::new(StatusCode::BAD_REQUEST, "body_broken", format!("the body broke off: {error}"))
                    .closing()
            })?;
            if let Ok(data) = frame.into_data() {
                if read.len() + data.len() > limits.bytes {
                    return Err(too_large());
                }
                let kib = ((read.len() + data.len()).div_ceil(1024) - read.len().div_ceil(1024)) as u32;
                let more = ROOM
                    .try_acquire_many(kib)
                    .map_err(|_| HttpError { retry_after: Some(Duration::from_secs(1)), ..full() })?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                read.extend_from_slice(&data);
            }
        }
        Ok(WholeBody { bytes: read.freeze(), _room: room })
    };
    tokio::time::timeout(limits.timeout, whole).await.unwrap_or_else(|_| {
        let message = format!("the body was not there within {:?}", limits.timeout);
        Err(HttpError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).closing())
    })
}

/// Reads a body as JSON.
///
/// # Errors
/// As [`read_body`], and 400 for what is not JSON of the right form, with the path of the field.
pub async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<T, HttpError> {
    parse_json(read_body(headers, body, limits).await?.as_ref())
}

/// Reads JSON; see [`read_json`].
fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, HttpError> {
    let invalid = |message: String| HttpError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = invalid(error.into_inner().to_string());
        if path == "." { error } else { error.param(path) }
    })?;
    json.end().map_err(|error| invalid(error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 10, timeout: Duration::from_millis(50) };

    async fn status(headers: &HeaderMap, body: Body) -> Result<Bytes, StatusCode> {
        read_body(headers, body, LIMITS).await.map(|body| body.bytes).map_err(|error| error.status)
    }

    #[tokio::test]
    async fn size_and_time_are_bounded() {
        let none = HeaderMap::new();
        assert_eq!(status(&none, Body::from("0123456789")).await.unwrap().len(), 10);
        assert_eq!(status(&none, Body::from("0123456789a")).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, http::HeaderValue::from(11))]);
        assert_eq!(status(&announced, Body::empty()).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let endless = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let endless = Body::new(StreamBody::new(endless));
        assert_eq!(status(&none, endless).await, Err(StatusCode::REQUEST_TIMEOUT));
        // Other tests of this process hold a few KiB at most.
        let held = ROOM.acquire_many((512 << 10) - 64).await.unwrap();
        let large = BodyLimits { bytes: 1 << 20, ..LIMITS };
        let refused = read_body(&none, Body::from(vec![b' '; 100 << 10]), large).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(held);
        let whole = read_body(&none, Body::from(vec![b' '; 100 << 10]), large).await.unwrap();
        assert_eq!(whole.as_ref().len(), 100 << 10);
    }

    #[test]
    fn json_errors_name_the_field() {
        #[derive(Debug, serde::Deserialize)]
        struct Inner {
            #[serde(rename = "depth")]
            _depth: u8,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[serde(rename = "list")]
            _list: Vec<Inner>,
        }
        let param = |text: &str| parse_json::<Outer>(text.as_bytes()).unwrap_err().param;
        assert_eq!(param(r#"{"list":[{"depth":1},{"depth":"x"}]}"#).as_deref(), Some("list[1].depth"));
        assert_eq!(param("nonsense"), None);
        assert!(parse_json::<Outer>(b"{\"list\":[]} trailing").is_err());
        assert!(parse_json::<Outer>(b"{\"list\":[]}").is_ok());
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse_json::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}
