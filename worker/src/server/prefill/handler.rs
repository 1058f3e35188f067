//! `POST /internal/v1/prefills`

use std::sync::Arc;
use std::time::Duration;

use ampd_telemetry::TraceContext;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::queue::Ticket;
use crate::http::{BodyLimits, read_json};
use crate::protocol::{ErrorCode, ErrorDetail, PrefillEvent, PrefillTask};
use crate::server::error::ApiError;
use crate::server::front::{Front, Worker};
use crate::server::ndjson::{self, arrival};
use crate::topology::is_host_port;

/// Longest silence of the stream.
const PING_EVERY: Duration = Duration::from_millis(500);
/// Events of a task: queued, started, and its end.
const EVENTS: usize = 4;

/// Takes a prefill task.
pub(in crate::server) async fn prefill(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let worker = front.serving()?;
    let side = worker.prefill()?;
    let task: PrefillTask = read_json(&headers, body, BodyLimits::default()).await?;
    check(&worker, &task, &side.decode_uri)?;
    let handle = task.handle.parse().map_err(|_| ApiError::parameter("handle", "must be 32 hex digits"))?;
    tracing::debug!(
        request_id = task.request_id, task = task.task, session = task.session,
        trace = %TraceContext::from_headers(&headers), tokens = task.tokens.len(), history = task.history,
        "a prefill is queued"
    );
    let (events, told) = mpsc::channel(EVENTS);
    let arrival = arrival(task.age_ms);
    let pushed = side.queue.push(task, handle, arrival, events);
    let (ticket, position) =
        pushed.inspect_err(|_| front.metrics.prefills.with(["remote", "refused"]).inc())?;
    let run = Run {
        first: Some(PrefillEvent::Queued { position }),
        told,
        cut: front.cut.clone(),
        ended: false,
        _ticket: ticket,
    };
    Ok(ndjson::response(futures::stream::unfold(run, |mut run| async move {
        run.next().await.map(|event| (event, run))
    })))
}

/// Refuses what cannot be run, before it waits for a turn that it would waste.
fn check(worker: &Worker, task: &PrefillTask, decode_uri: &str) -> Result<(), ApiError> {
    let (count, limit) = (task.tokens.len(), worker.max_context);
    if count > limit {
        let message = format!("{count} tokens exceed the context of {limit} tokens");
        return Err(ApiError::new(ErrorCode::ContextLengthExceeded, message));
    }
    if task.history >= count {
        return Err(ApiError::parameter("history", "must leave tokens to compute"));
    }
    if let Some(index) = task.tokens.iter().position(|&id| id as usize >= worker.vocab) {
        let message =
            format!("tokens[{index}] is {}, but the vocabulary has {}", task.tokens[index], worker.vocab);
        let detail = ErrorDetail {
            param: Some(format!("tokens[{index}]")),
            ..ErrorDetail::new(ErrorCode::InvalidToken, message)
        };
        return Err(ApiError::Detail(detail));
    }
    // KV goes to decode workers of this service only, whatever a caller says.
    if task.kv_server_name != decode_uri {
        return Err(ApiError::parameter("kv_server_name", &format!("must be {decode_uri}")));
    }
    if is_host_port(&task.kv_addr) {
        Ok(())
    } else {
        Err(ApiError::parameter("kv_addr", "must be host:port"))
    }
}

/// The stream of a task. Dropping it cancels the task.
struct Run {
    first: Option<PrefillEvent>,
    told: mpsc::Receiver<PrefillEvent>,
    cut: CancellationToken,
    ended: bool,
    _ticket: Ticket,
}

impl Run {
    async fn next(&mut self) -> Option<PrefillEvent> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let error = |code, message: &str| PrefillEvent::Error(ErrorDetail::new(code, message));
        let event = tokio::select! {
            biased;
            () = self.cut.cancelled() => error(ErrorCode::Draining, "the worker shut down before the task was done"),
            event = self.told.recv() => {
                event.unwrap_or_else(|| error(ErrorCode::EngineFailed, "the task ended without a word"))
            }
            () = tokio::time::sleep(PING_EVERY) => PrefillEvent::Ping {},
        };
        self.ended = matches!(event, PrefillEvent::Done(_) | PrefillEvent::Error(_));
        Some(event)
    }
}
