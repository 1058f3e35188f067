//! Answers that are streams of events.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use futures::{Stream, StreamExt};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::protocol::to_line;

/// Ages above this are no ages.
const MAX_AGE: Duration = Duration::from_hours(1);

/// A response with one JSON object a line. Dropping its body, as hyper does when the caller is gone, drops the stream.
pub(super) fn response<T: Serialize>(events: impl Stream<Item = T> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(events.map(|event| to_line(&event))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// When something arrived that is `age_ms` old now.
pub(super) fn arrival(age_ms: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(age_ms).min(MAX_AGE)).unwrap_or(now)
}
