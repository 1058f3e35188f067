//! What the kubelet and Prometheus ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ampd_telemetry::{OperatorMetrics, TEXT_FORMAT};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, serve};
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where the process stands.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
}

impl Health {
    /// The process does what it should: it works, or it waits for its turn.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// Tells whether the process lives and is ready, and nothing else, until `stop`.
///
/// # Errors
/// When the socket fails.
pub async fn probes(
    listener: TcpListener,
    health: Arc<Health>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(health);
    serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")
    }
}

/// Serves the metrics to this machine, until `stop`.
///
/// # Errors
/// When the socket fails.
pub async fn metrics(
    listener: TcpListener,
    metrics: Arc<OperatorMetrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new().route("/metrics", get(exposition)).with_state(metrics);
    serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn exposition(State(metrics): State<Arc<OperatorMetrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, crate::error::chain(&error)).into_response(),
    }
}

/// Whether an address is reached from this machine only.
#[must_use]
pub fn is_local(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}
