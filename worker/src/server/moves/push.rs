//! A session leaves: its KV is pushed to the worker that it is bound to now.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::backend::BLOCK_TOKENS;
use ampd_engine::core::EngineError;
use ampd_kv::{Handle, KvError, Reason, Transfer};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use futures::StreamExt as _;
use http::HeaderMap;
use tokio::time::timeout;

use super::enter;
use crate::http::{BodyLimits, read_json};
use crate::process::chain;
use crate::protocol::{ErrorCode, ErrorDetail, PushSession, PushedSession};
use crate::server::engine::{EngineGone, RoundGuard};
use crate::server::error::{ApiError, engine_detail};
use crate::server::front::{Front, Worker};
use crate::server::kv_store::{finish, give_up};
use crate::server::rounds::DecodeSide;
use crate::topology::is_host_port;

/// Longer than a new owner waits.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pieces of KV on their way out of the engine at once.
const PIECES: usize = 16;
/// Size of a piece, bytes, where a block is no larger.
const PIECE: usize = 1 << 20;

/// Why a session's KV did not leave.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("KV could not be moved")]
    Transfer(#[from] KvError),
    #[error("the lease is for tokens {got:?}, the session's are {expected:?}")]
    Range { got: Range<usize>, expected: Range<usize> },
    #[error("the session cannot be read")]
    Engine(#[from] EngineError),
    #[error("the transfer takes longer than {DEADLINE:?}")]
    Deadline,
    #[error(transparent)]
    Gone(#[from] EngineGone),
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> Self {
        let code = match &error {
            PushError::Engine(error) => return Self::Detail(engine_detail(error)),
            PushError::Transfer(_) | PushError::Range { .. } | PushError::Deadline => {
                ErrorCode::TransferFailed
            }
            PushError::Gone(_) => ErrorCode::EngineFailed,
        };
        Self::Detail(ErrorDetail::new(code, chain(&error)))
    }
}

/// `POST /internal/v1/sessions/push`
pub(in crate::server) async fn push(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PushedSession>, ApiError> {
    let worker = front.serving()?;
    let side = worker.decode()?;
    let push: PushSession = read_json(&headers, body, BodyLimits::default()).await?;
    let handle = push.handle.parse().map_err(|_| ApiError::parameter("handle", "must be 32 hex digits"))?;
    if !is_host_port(&push.kv_addr) {
        return Err(ApiError::parameter("kv_addr", "must be host:port"));
    }
    if push.history >= push.tokens.len() {
        return Err(ApiError::parameter("history", "must leave tokens to push"));
    }
    let _place = enter(&side.moves.pushes)?;
    let pushing = async {
        timeout(DEADLINE, run(&worker, side, &push, handle)).await.unwrap_or(Err(PushError::Deadline))
    };
    let pushed = tokio::select! {
        biased;
        () = front.cut.cancelled() => {
            return Err(ApiError::new(ErrorCode::Draining, "the worker shuts down"));
        }
        pushed = pushing => pushed,
    };
    if let Err(error) = &pushed {
        tracing::warn!(
            session = push.session,
            to = push.kv_addr,
            error = chain(error),
            "a session did not leave"
        );
    }
    pushed?;
    Ok(Json(PushedSession {}))
}

async fn run(
    worker: &Worker,
    side: &DecodeSide,
    push: &PushSession,
    handle: Handle,
) -> Result<(), PushError> {
    let engine = &worker.engine;
    let (session, salt, tokens) = (push.session.clone(), push.salt.0, push.tokens.clone());
    let guard = engine.call(move |core| core.export_session(&session, &salt, tokens)).await??;
    // Workers of another service have another name, whatever address a caller gives.
    let mut transfer = side.moves.kv.open(&push.kv_addr, &side.own_uri, &handle).await?;
    let metrics = worker.stats.metrics();
    if let Err(error) = send(worker, &guard, push, &mut transfer).await {
        let reason = if let PushError::Transfer(error) = &error { error.reason() } else { Reason::Aborted };
        give_up(metrics, transfer, reason).await;
        return Err(error);
    }
    finish(metrics, transfer).await?;
    let (session, epoch) = (push.session.clone(), push.epoch);
    engine.call(move |core| core.engine().release_session(&session, epoch, Instant::now())).await?;
    Ok(())
}

/// Hands all KV to the connection, in pieces that no step waits long for.
async fn send(
    worker: &Worker,
    guard: &RoundGuard,
    push: &PushSession,
    transfer: &mut Transfer,
) -> Result<(), PushError> {
    let expected = push.history..push.tokens.len();
    if transfer.range() != expected {
        return Err(PushError::Range { got: transfer.range(), expected });
    }
    let (id, engine) = (guard.id(), &worker.engine);
    let shape = engine.call(|core| core.engine().kv_shape()).await?;
    let blocks = (PIECE / (BLOCK_TOKENS * shape.token_layer_bytes())).max(1);
    let spans = expected.clone().step_by(blocks * BLOCK_TOKENS);
    let spans = spans.map(|start| start..expected.end.min(start + blocks * BLOCK_TOKENS));
    let pieces = spans.flat_map(|span| (0..shape.layers).map(move |layer| (layer, span.clone())));
    let read = |(layer, span): (usize, Range<usize>)| async move {
        let asked = span.clone();
        let data = engine.transfer(move |core| {
            let mut out = Vec::new();
            core.engine().read_kv(id, layer, asked, &mut out).map(|()| out)
        });
        Ok::<_, PushError>((layer, span, data.await??))
    };
    let mut reads = futures::stream::iter(pieces).map(read).buffered(PIECES);
    while let Some(piece) = reads.next().await {
        let (layer, span, data) = piece?;
        transfer.push(layer, span, data.into()).await?;
    }
    Ok(())
}
