//! The calls that a decode worker answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::backend::BLOCK_TOKENS;
use ampd_engine::core::{RoundId, RoundRequest, Sampling};
use ampd_telemetry::TraceContext;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::remote::Remote;
use super::run::{Prefill, RoundRun};
use super::table::Waiting;
use crate::http::{BodyLimits, read_json};
use crate::protocol::{Bind, BindAck, OpenRound, PrefillTarget, RoundOpened, RunRound, SamplingParams};
use crate::server::engine::Snapshot;
use crate::server::error::ApiError;
use crate::server::front::{Front, Worker};
use crate::server::ndjson::{self, arrival};

/// `POST /internal/v1/bindings`
pub(in crate::server) async fn bind(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BindAck>, ApiError> {
    let worker = front.serving()?;
    worker.decode()?;
    let Bind { session, epoch } = read_json(&headers, body, BodyLimits::default()).await?;
    // The published load is that of the last step, from before the binding.
    let bound = worker.engine.call(move |core| {
        core.engine().bind(&session, epoch, Instant::now())?;
        Ok::<_, ampd_engine::core::EngineError>(core.engine().load())
    });
    let load = bound.await??;
    Ok(Json(BindAck {
        kv_free_tokens: (load.ledger.available() * BLOCK_TOKENS) as u64,
        kv_total_tokens: (load.ledger.total * BLOCK_TOKENS) as u64,
        sessions: load.sessions as u64,
        running: load.running_decodes as u64,
    }))
}

/// `POST /internal/v1/rounds`
pub(in crate::server) async fn open(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RoundOpened>, ApiError> {
    let worker = front.serving()?;
    let side = worker.decode()?;
    let round: OpenRound = read_json(&headers, body, BodyLimits::default()).await?;
    tracing::debug!(
        request_id = round.request_id, session = round.session, trace = %TraceContext::from_headers(&headers),
        tokens = round.tokens.len(), "opening a round"
    );
    let opened = open_round(&worker, round, side.table.until()).await;
    let (waiting, increment, snapshot) =
        opened.inspect_err(|_| front.metrics.rounds.with(["refused"]).inc())?;
    let history = waiting.history;
    let mut load = worker.load.detailed(&snapshot);
    for prefill in &mut load.waiting {
        prefill.round = side.table.name(RoundId(prefill.round));
    }
    Ok(Json(RoundOpened { round: side.table.add(waiting), history, increment, load }))
}

/// Opens the round; also the tokens of its increment, and the load right before the step that follows.
async fn open_round(
    worker: &Worker,
    round: OpenRound,
    until: Instant,
) -> Result<(Waiting, usize, Snapshot), ApiError> {
    let OpenRound { request_id, session, salt, tokens, max_tokens, .. } = round;
    let request = RoundRequest {
        session: session.clone(),
        epoch: round.epoch,
        salt: salt.0,
        tokens: tokens.clone(),
        sampling: sampling(round.sampling),
        max_tokens,
        stop_tokens: round.stop_tokens,
        ignore_eos: round.ignore_eos,
        logprobs: round.logprobs,
        prompt_logprobs: round.prompt_logprobs,
    };
    let open = worker.engine.call(move |core| core.open(request).map(|opened| (opened, core.snapshot())));
    let ((opened, guard), snapshot) = open.await??;
    let history = opened.history;
    let waiting = Waiting { guard, request_id, session, salt, tokens, history, max_tokens, until };
    Ok((waiting, opened.increment, snapshot))
}

fn sampling(params: SamplingParams) -> Sampling {
    Sampling {
        temperature: params.temperature,
        top_p: params.top_p,
        top_k: params.top_k,
        min_p: params.min_p,
        repetition_penalty: params.repetition_penalty,
        presence_penalty: params.presence_penalty,
        frequency_penalty: params.frequency_penalty,
        logit_bias: params.logit_bias,
        seed: params.seed,
    }
}

/// `POST /internal/v1/rounds/{id}/run`
///
/// A round that was opened may run although the worker drains.
pub(in crate::server) async fn run(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let worker = front.loaded()?;
    let side = worker.decode()?;
    let name = parse_name(&name)?;
    let run: RunRound = read_json(&headers, body, BodyLimits::default()).await?;
    if let PrefillTarget::Remote(remote) = &run.prefill {
        check_url("prefill.remote.url", &remote.url)?;
    }
    let trace = TraceContext::from_headers(&headers);
    let (waiting, entry) = side.table.run(name)?;
    tracing::debug!(
        request_id = waiting.request_id, session = waiting.session, round = name, trace = %trace,
        "running a round"
    );
    let (id, max_tokens, arrival) = (waiting.guard.id(), waiting.max_tokens, arrival(run.age_ms));
    let asked = (arrival, Duration::from_millis(run.ttft_slo_ms));
    let Waiting { guard, request_id, session, salt, tokens, .. } = waiting;
    let (events, prefill) = match run.prefill {
        PrefillTarget::Local => {
            let started = worker.engine.call(move |core| {
                core.engine().run_local(id, Instant::now())?;
                Ok::<_, ampd_engine::core::EngineError>(core.subscribe(id, max_tokens, asked))
            });
            (started.await??, Prefill::Local)
        }
        PrefillTarget::Remote(target) => {
            let events = worker.engine.call(move |core| core.subscribe(id, max_tokens, asked)).await?;
            let remote = Remote {
                worker: worker.clone(),
                side: side.clone(),
                round: id,
                target,
                arrival,
                ttft_slo_ms: run.ttft_slo_ms,
                request_id,
                session,
                salt,
                tokens,
                trace,
            };
            (events, Prefill::Remote(Box::pin(remote.run())))
        }
    };
    let stream = RoundRun::new(worker, guard, entry, events, prefill, front.cut.clone());
    Ok(ndjson::response(futures::stream::unfold(stream, |mut stream| async move {
        stream.next().await.map(|event| (event, stream))
    })))
}

/// `DELETE /internal/v1/rounds/{id}`
pub(in crate::server) async fn cancel(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let worker = front.loaded()?;
    worker.decode()?.table.cancel(parse_name(&name)?);
    Ok(StatusCode::NO_CONTENT)
}

/// Whether another worker could be called there.
pub(in crate::server) fn check_url(field: &str, url: &str) -> Result<(), ApiError> {
    let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http { Ok(()) } else { Err(ApiError::parameter(field, "must be an http or https address")) }
}

fn parse_name(name: &str) -> Result<u64, ApiError> {
    name.parse().map_err(|_| ApiError::parameter("round", "must be a whole number"))
}
