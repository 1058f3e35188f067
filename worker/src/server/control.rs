//! The routes of the control API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};

use super::error::ApiError;
use super::front::{Front, Side};
use super::load::sample;
use super::{moves, prefill, rounds};
use crate::process::chain;
use crate::protocol::{ErrorCode, LoadReport, ORCA_HEADER};

/// All routes. They answer from the start; what needs the model says so while it is loaded.
pub(super) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/internal/v1/bindings", post(rounds::bind))
        .route("/internal/v1/rounds", post(rounds::open))
        .route("/internal/v1/rounds/{id}/run", post(rounds::run))
        .route("/internal/v1/rounds/{id}", delete(rounds::cancel))
        .route("/internal/v1/prefills", post(prefill::prefill))
        .route("/internal/v1/sessions", get(moves::sessions))
        .route("/internal/v1/sessions/pull", post(moves::pull))
        .route("/internal/v1/sessions/describe", post(moves::describe))
        .route("/internal/v1/sessions/push", post(moves::push))
        .route("/internal/v1/probe", get(probe))
        .route("/metrics", get(metrics))
        .route("/metrics/load", get(metrics_load))
        .layer(from_fn_with_state(front.clone(), with_load))
        // Anybody may ask these two, and the load is not for everybody.
        .route("/readyz", get(readyz))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(front)
}

/// Puts the load of this moment on every response of a route that members call.
async fn with_load(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(worker) = front.worker.get()
        && let Ok(load) = HeaderValue::from_str(&worker.load.report().to_orca())
    {
        response.headers_mut().insert(ORCA_HEADER, load);
    }
    response
}

async fn probe(State(front): State<Arc<Front>>) -> Result<Json<LoadReport>, ApiError> {
    Ok(Json(front.serving()?.load.report()))
}

async fn readyz(State(front): State<Arc<Front>>) -> Response {
    let status = if front.life.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(front.life.to_json())).into_response()
}

async fn metrics(State(front): State<Arc<Front>>) -> Result<Response, ApiError> {
    refresh(&front);
    exposition(front.metrics.render())
}

async fn metrics_load(State(front): State<Arc<Front>>) -> Result<Response, ApiError> {
    refresh(&front);
    exposition(front.metrics.render_load())
}

/// Brings the gauges up to date.
fn refresh(front: &Front) {
    let Some(worker) = front.worker.get() else { return };
    front.metrics.set_load(&sample(&worker.load.report(), front.life.is_ready()));
    let (prefill, decode) = worker.stats.ratios();
    front.metrics.calibration_ratio.with(["prefill"]).set(prefill);
    front.metrics.calibration_ratio.with(["decode"]).set(decode);
    if let Side::Decode(side) = &worker.side {
        front.metrics.leases.set(side.leases.live() as f64);
    }
}

fn exposition(text: Result<String, ampd_telemetry::MetricsError>) -> Result<Response, ApiError> {
    let text = text.map_err(|error| ApiError::new(ErrorCode::Internal, chain(&error)))?;
    Ok(([(header::CONTENT_TYPE, ampd_telemetry::TEXT_FORMAT)], text).into_response())
}
