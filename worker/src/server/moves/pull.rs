//! A session comes: its KV is pulled from the worker that it was bound to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::{EngineError, MovedSession, RemoteRange, RoundId};
use ampd_kv::{Grant, GrantError, MAX_LEASE};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use tokio::time::timeout;

use super::enter;
use crate::http::{BodyLimits, read_json};
use crate::process::chain;
use crate::protocol::{
    ClientError, ControlClient, Deadlines, DescribeSession, ErrorCode, ErrorDetail, PullSession,
    PulledSession, PushSession, SessionContent,
};
use crate::server::engine::{EngineGone, RoundGuard};
use crate::server::error::{ApiError, engine_detail};
use crate::server::front::{Front, Worker};
use crate::server::rounds::{DecodeSide, check_url};

/// For the old owner's description of the session.
const DESCRIBE: Duration = Duration::from_secs(2);
/// How long a session may be held while its KV comes. Its client's next round waits meanwhile, and sidecars wait for a busy
/// session a little longer than this.
const HOLD: Duration = Duration::from_secs(4);

/// Why a session's KV did not come.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("the session's old worker cannot be used")]
    Call(#[from] ClientError),
    #[error("the session cannot be taken")]
    Engine(#[from] EngineError),
    #[error("no lease can be granted")]
    Grant(#[from] GrantError),
    #[error("its KV did not come within {HOLD:?}")]
    Deadline,
    #[error(transparent)]
    Gone(#[from] EngineGone),
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        let detail = match &error {
            PullError::Engine(error) => return Self::Detail(engine_detail(error)),
            PullError::Call(ClientError::Refused { detail, .. }) => detail.clone(),
            PullError::Grant(_) => ErrorDetail::new(ErrorCode::Overloaded, chain(&error)),
            PullError::Gone(_) => ErrorDetail::new(ErrorCode::EngineFailed, chain(&error)),
            PullError::Call(_) | PullError::Deadline => {
                ErrorDetail::new(ErrorCode::TransferFailed, chain(&error))
            }
        };
        Self::Detail(detail)
    }
}

/// `POST /internal/v1/sessions/pull`
pub(in crate::server) async fn pull(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PulledSession>, ApiError> {
    let worker = front.serving()?;
    let side = worker.decode()?;
    let ask: PullSession = read_json(&headers, body, BodyLimits::default()).await?;
    check_url("from", &ask.from)?;
    let _place = enter(&side.moves.pulls)?;
    let session = ask.session.clone();
    let deadlines = |call| Deadlines { call, ..Deadlines::default() };
    let client = |call| ControlClient::new(side.moves.http.clone(), &ask.from, deadlines(call));
    let pulling = Pull { worker: &worker, side, from: client(DESCRIBE), source: client(HOLD), ask: &ask };
    let pulled = tokio::select! {
        biased;
        () = front.cut.cancelled() => {
            return Err(ApiError::new(ErrorCode::Draining, "the worker shuts down"));
        }
        pulled = pulling.run() => pulled,
    };
    match &pulled {
        Ok(PulledSession { tokens, .. }) => {
            tracing::info!(session, from = ask.from, tokens, "a session has come");
        }
        Err(error) => {
            tracing::warn!(session, from = ask.from, error = chain(error), "a session did not come");
        }
    }
    Ok(Json(pulled?))
}

struct Pull<'a> {
    worker: &'a Worker,
    side: &'a DecodeSide,
    /// The old owner, for short calls.
    from: ControlClient,
    /// The same, for the push.
    source: ControlClient,
    ask: &'a PullSession,
}

impl Pull<'_> {
    async fn run(&self) -> Result<PulledSession, PullError> {
        let ask = DescribeSession { session: self.ask.session.clone() };
        let content = self.from.describe_session(&ask).await?;
        timeout(HOLD, self.take(content)).await.unwrap_or(Err(PullError::Deadline))
    }

    /// Holds the session until its KV is here; dropping this lets it go.
    async fn take(&self, content: SessionContent) -> Result<PulledSession, PullError> {
        let moved = MovedSession {
            session: self.ask.session.clone(),
            epoch: self.ask.epoch,
            salt: content.salt.0,
            tokens: content.tokens.clone(),
            idle: Duration::from_millis(content.idle_ms),
        };
        let engine = &self.worker.engine;
        let (range, guard): (RemoteRange, RoundGuard) =
            engine.call(move |core| core.take_session(moved)).await??;
        let id = guard.id();
        if range.history < range.end {
            self.fetch(id, range, content).await?;
        }
        engine.call(move |core| core.engine().keep_session(id, Instant::now())).await??;
        Ok(PulledSession { tokens: range.end as u64, pulled_tokens: (range.end - range.history) as u64 })
    }

    /// Has the KV of `range` pushed. Whether all of it came is seen by who keeps it.
    async fn fetch(&self, id: RoundId, range: RemoteRange, content: SessionContent) -> Result<(), PullError> {
        let requester = self.side.own_uri.clone();
        let grant = Grant { round: id.0, requester, history: range.history, end: range.end };
        let lease = self.side.leases.grant(grant, MAX_LEASE)?;
        let push = PushSession {
            session: self.ask.session.clone(),
            epoch: self.ask.epoch,
            salt: content.salt,
            tokens: content.tokens,
            history: range.history,
            handle: lease.handle().to_hex(),
            kv_addr: self.side.kv_addr.clone(),
        };
        self.source.push_session(&push).await?;
        Ok(())
    }
}
