//! The listener for other sidecars, the operator, probes and metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ampd_telemetry::TraceContext;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::sync::mpsc;

use super::state::Shared;
use super::wire::{MEMBER, RESOLVE, Refusal, Resolve, SERVE, ServeEvent, ServeRound};
use crate::http::{BodyLimits, HttpError, read_json};
use crate::protocol::{ErrorBody, ErrorCode, to_line};

/// Longest time without a line in a stream.
const PING: Duration = Duration::from_secs(1);
/// Largest body of another sidecar: the tokens of a round.
const BODY: BodyLimits = BodyLimits { bytes: 32 << 20, timeout: Duration::from_secs(10) };

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(RESOLVE, post(resolve))
        .route(SERVE, post(serve))
        .route(MEMBER, get(member))
        .route("/metrics", get(metrics))
        .merge(super::drain::routes())
        .merge(health_routes())
        .with_state(shared)
}

/// Whether the process lives, and whether it is of use.
pub(super) fn health_routes() -> Router<Arc<Shared>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let reason = shared.unready();
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let topology = shared.topology();
    let ready = topology.decode.iter().filter(|member| shared.members.ready(&member.name)).count();
    let decode = json!({"ready": ready, "total": topology.decode.len()});
    let followed = shared.followed();
    let ready = followed.iter().filter(|worker| shared.signals.ready(&worker.name)).count();
    let prefill = json!({"ready": ready, "total": followed.len()});
    let body = json!({"ready": reason.is_none(), "reason": reason, "decode": decode, "prefill": prefill});
    (status, Json(body)).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    for (worker, age_s) in shared.signals.ages() {
        shared.metrics.signal_age_seconds.with([worker.as_str()]).set(age_s);
    }
    shared.metrics.bound_sessions.set(shared.home.len(shared.clock.now_s()) as f64);
    match shared.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, ampd_telemetry::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn member(State(shared): State<Arc<Shared>>) -> Response {
    let mut status = shared.own.status();
    status.ready &= !shared.shutdown.is_cancelled();
    Json(status).into_response()
}

async fn resolve(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, HttpError> {
    let (parts, body) = request.into_parts();
    let ask: Resolve = read_json(&parts.headers, body, BODY).await?;
    if shared.shutdown.is_cancelled() {
        return Ok(refused(&Refusal::new(ErrorCode::Draining, "this sidecar is about to stop")));
    }
    Ok(match shared.resolve_at_home(&ask).await {
        Ok(binding) => Json(binding).into_response(),
        Err(refusal) => refused(&refusal),
    })
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, HttpError> {
    let (parts, body) = request.into_parts();
    let trace = TraceContext::from_headers(&parts.headers);
    let round: ServeRound = read_json(&parts.headers, body, BODY).await?;
    let events = if shared.shutdown.is_cancelled() {
        // Another worker takes the session.
        let (refusal, events) = mpsc::channel(1);
        // It has room for one.
        let _ = refusal.try_send(ServeEvent::Refused(Refusal::lost()));
        events
    } else {
        shared.serve(round, trace)
    };
    let body = Body::from_stream(lines(events));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The events as lines, with one that says nothing whenever there was none for a while.
fn lines(events: mpsc::Receiver<ServeEvent>) -> impl futures::Stream<Item = Result<Bytes, Infallible>> {
    futures::stream::unfold(events, |mut events| async move {
        let event = match tokio::time::timeout(PING, events.recv()).await {
            Ok(event) => event?,
            Err(_) => ServeEvent::Waiting {},
        };
        match to_line(&event) {
            Ok(line) => Some((Ok(line), events)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an event cannot be written");
                None
            }
        }
    })
}

fn refused(refusal: &Refusal) -> Response {
    let body = ErrorBody { error: refusal.error.clone() };
    let mut response = (refusal.error.code.status(), Json(body)).into_response();
    if let Some(ms) = refusal.retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
    }
    response
}
