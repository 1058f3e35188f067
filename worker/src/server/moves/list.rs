//! What sessions the worker holds.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;

use crate::http::{BodyLimits, read_json};
use crate::protocol::{DescribeSession, HeldSession, MAX_SESSIONS, Salt, SessionContent, Sessions};
use crate::server::error::ApiError;
use crate::server::front::Front;

/// `GET /internal/v1/sessions`
pub(in crate::server) async fn sessions(State(front): State<Arc<Front>>) -> Result<Json<Sessions>, ApiError> {
    let worker = front.serving()?;
    worker.decode()?;
    let listed = worker.engine.call(|core| {
        let engine = core.engine();
        (engine.idle_sessions(MAX_SESSIONS), engine.busy_sessions())
    });
    let (idle, busy) = listed.await?;
    let told = |session: ampd_engine::core::IdleSession| HeldSession {
        session: session.name,
        epoch: session.epoch,
        tokens: session.tokens as u64,
    };
    Ok(Json(Sessions { idle: idle.into_iter().map(told).collect(), busy: busy as u64 }))
}

/// `POST /internal/v1/sessions/describe`
pub(in crate::server) async fn describe(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SessionContent>, ApiError> {
    let worker = front.serving()?;
    worker.decode()?;
    let DescribeSession { session } = read_json(&headers, body, BodyLimits::default()).await?;
    let held = worker.engine.call(move |core| core.engine().held_session(&session, Instant::now()));
    let held = held.await??;
    let idle_ms = held.idle.as_millis().try_into().unwrap_or(u64::MAX);
    Ok(Json(SessionContent { salt: Salt(held.salt), tokens: held.tokens, idle_ms }))
}
