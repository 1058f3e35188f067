//! Checks that hyper leaves to others: what two readers of one request could understand differently is refused.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Version, header};

use super::{HttpError, HttpLimits};

/// Puts the checks before all routes of `app`.
pub fn guarded(app: Router, limits: HttpLimits) -> Router {
    // The fallbacks come first, so that the checks stand before them too.
    app.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(from_fn(
        move |request: Request, next: Next| async move {
            match check(&request, &limits) {
                Ok(()) => next.run(request).await,
                Err(error) => error.into_response(),
            }
        },
    ))
}

async fn not_found() -> Response {
    HttpError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path").into_response()
}

async fn method_not_allowed() -> Response {
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path does not take this method")
        .into_response()
}

fn check<B>(request: &http::Request<B>, limits: &HttpLimits) -> Result<(), HttpError> {
    let bad = |message: &str| HttpError::new(StatusCode::BAD_REQUEST, "bad_request", message).closing();
    let headers = request.headers();
    let uri = request.uri();
    let uri_bytes = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if uri_bytes > limits.uri_bytes {
        let message = format!("the request's target exceeds {} bytes", limits.uri_bytes);
        return Err(HttpError::new(StatusCode::URI_TOO_LONG, "uri_too_long", message).closing());
    }
    if headers.len() > limits.headers || header_bytes(headers) > limits.header_bytes {
        let message =
            format!("more than {} headers, or {} bytes of them", limits.headers, limits.header_bytes);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(HttpError::new(status, "headers_too_large", message).closing());
    }
    if request.method() == http::Method::CONNECT {
        return Err(bad("this is no proxy"));
    }
    check_host(request.version(), uri, headers).map_err(bad)
}

/// RFC 9112 section 3.2: exactly one Host, and no other one in an absolute target.
fn check_host(version: Version, uri: &http::Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| "the Host header is not text")?,
        (Some(_), Some(_)) => return Err("more than one Host header"),
        (None, _) if version <= Version::HTTP_10 => return Ok(()),
        (None, _) => return Err("no Host header"),
    };
    if host.parse::<http::uri::Authority>().is_err() {
        return Err("the Host header is not a host");
    }
    match uri.authority() {
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => {
            Err("the Host header differs from the target's host")
        }
        _ => Ok(()),
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: http::request::Builder) -> Option<StatusCode> {
        check(&request.body(()).unwrap(), &HttpLimits::default()).err().map(|error| error.status)
    }

    fn request() -> http::request::Builder {
        http::Request::get("/x").header("host", "a:1")
    }

    #[test]
    fn ambiguous_and_oversized_requests_are_refused() {
        assert_eq!(refused(request()), None);
        assert_eq!(refused(http::Request::get("/x")), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(http::Request::get("/x").version(Version::HTTP_10)), None);
        assert_eq!(refused(request().header("host", "b")), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(http::Request::get("/x").header("host", "a b")), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(request().uri("http://b/x")), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(request().uri(format!("/{}", "x".repeat(9000)))), Some(StatusCode::URI_TOO_LONG));
        let many = (0..70).fold(request(), |request, n| request.header(format!("x-{n}"), "1"));
        assert_eq!(refused(many), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let large = request().header("x", "1".repeat(40_000));
        assert_eq!(refused(large), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
}
