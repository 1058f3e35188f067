//! The two servers: probes, and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ampd_telemetry::{OperatorMetrics, TEXT_FORMAT};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::Health;
use super::gate::{Gate, Verdict};
use super::server::{self, ServeError, Serving};

const METRICS: &str = "/metrics";

/// Serves `/healthz` and `/readyz` to anybody, in a few words.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_probes(
    address: SocketAddr,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> Result<Serving, ServeError> {
    let app = Router::new()
        .route("/healthz", get(async |State(health): State<Arc<Health>>| said(health.live(Instant::now()))))
        .route("/readyz", get(async |State(health): State<Arc<Health>>| said(health.ready())))
        .with_state(health);
    server::start(address, app, None, shutdown).await
}

fn said(state: Result<&'static str, &'static str>) -> Response {
    match state {
        Ok(words) => words.into_response(),
        Err(words) => (StatusCode::SERVICE_UNAVAILABLE, words).into_response(),
    }
}

/// Serves `/metrics`: on loopback to anybody; elsewhere over TLS, to those with a token whose owner the cluster lets `get`
/// the path `/metrics`.
///
/// # Errors
/// When the address cannot be listened on, or no certificate can be made.
pub async fn serve_metrics(
    address: SocketAddr,
    metrics: Arc<OperatorMetrics>,
    client: Client,
    shutdown: CancellationToken,
) -> Result<Serving, ServeError> {
    let open = address.ip().is_loopback();
    let tls = if open { None } else { Some(server::own_certificate()?) };
    let gate = (!open).then(|| Gate::new(client));
    let app = Router::new().route(METRICS, get(show)).with_state(Arc::new(Shown { metrics, gate }));
    server::start(address, app, tls, shutdown).await
}

struct Shown {
    metrics: Arc<OperatorMetrics>,
    /// None lets everybody in.
    gate: Option<Gate>,
}

async fn show(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    if let Some(gate) = &shown.gate
        && let Some(refusal) = refusal(gate, &headers).await
    {
        return refusal;
    }
    match shown.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot render the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn refusal(gate: &Gate, headers: &HeaderMap) -> Option<Response> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = authorization.unwrap_or_default().split_once(' ').unwrap_or_default();
    let token = if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" };
    match gate.check(token, METRICS).await {
        Ok(Verdict::Allowed) => None,
        Ok(Verdict::Nobody) => {
            Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response())
        }
        Ok(Verdict::Forbidden) => Some(StatusCode::FORBIDDEN.into_response()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "nobody is let in");
            Some(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
    }
}
