//! A remote prefill from the decode worker's side. Whatever goes wrong with it, the round goes on here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::{EngineError, RemoteRange, RoundId};
use ampd_kv::{Grant, Lease, LeaseEnd, MAX_LEASE};
use ampd_telemetry::TraceContext;
use tokio::time::timeout;

use super::DecodeSide;
use crate::process::chain;
use crate::protocol::{
    ClientError, ControlClient, Deadlines, ErrorCode, ErrorDetail, EventStream, Fallback, LineError,
    MAX_PREFILL_DEADLINE, PrefillDone, PrefillEvent, PrefillPlace, PrefillReport, PrefillTask, RemotePrefill,
    Salt, prefill_deadline,
};
use crate::server::engine::EngineGone;
use crate::server::error::engine_detail;
use crate::server::front::Worker;

/// How long a prefill worker may be silent, before its first answer and within its stream, which has a line every 500 ms.
const SILENCE: Duration = Duration::from_secs(2);
/// When the transfer has ended, its prefill worker says so at once, or it will not.
const LAST_WORD: Duration = Duration::from_millis(250);

/// A remote prefill to run.
pub(super) struct Remote {
    pub worker: Arc<Worker>,
    pub side: Arc<DecodeSide>,
    pub round: RoundId,
    pub target: RemotePrefill,
    /// When the round arrived at the service.
    pub arrival: Instant,
    pub ttft_slo_ms: u64,
    pub request_id: String,
    pub session: String,
    pub salt: Salt,
    pub tokens: Vec<u32>,
    pub trace: TraceContext,
}

/// Why the remote prefill ended without its KV.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the blocks cannot be leased")]
    Lease(#[source] EngineError),
    #[error("no lease can be granted")]
    Grant(#[from] ampd_kv::GrantError),
    #[error("the prefill worker cannot be used")]
    Call(#[from] ClientError),
    #[error("the prefill worker ended the stream early")]
    Ended,
    #[error("the prefill worker failed")]
    Worker(#[source] ErrorDetail),
    #[error("the KV transfer ended: {0:?}")]
    Transfer(LeaseEnd),
    #[error("the prefill takes longer than {0:?}")]
    Deadline(Duration),
    #[error("the KV is not complete")]
    Commit(#[source] EngineError),
    #[error("the engine cannot go on")]
    Engine(#[from] EngineGone),
}

impl Failure {
    fn reason(&self) -> Fallback {
        match self {
            Self::Lease(EngineError::NothingRemote { .. }) => Fallback::NothingRemote,
            Self::Lease(_) | Self::Grant(_) => Fallback::KvExhausted,
            Self::Call(ClientError::Connect(_)) => Fallback::ConnectRefused,
            // The prompt is too long for that worker, which is no fault of it.
            Self::Call(ClientError::Refused { detail, .. })
                if detail.code == ErrorCode::ContextLengthExceeded =>
            {
                Fallback::NothingRemote
            }
            Self::Call(ClientError::Refused { .. } | ClientError::Status { .. }) => Fallback::Rejected,
            Self::Call(ClientError::Silent { .. } | ClientError::Deadline { .. }) => Fallback::Frozen,
            Self::Call(
                ClientError::Call(_) | ClientError::Stream(LineError::Stream(_) | LineError::Truncated),
            )
            | Self::Ended => Fallback::Disconnected,
            Self::Call(_) | Self::Engine(_) => Fallback::WorkerFailed,
            Self::Worker(detail) => match detail.code {
                ErrorCode::TransferFailed => Fallback::TransferFailed,
                ErrorCode::Draining | ErrorCode::Overloaded | ErrorCode::NotReady => Fallback::Rejected,
                _ => Fallback::WorkerFailed,
            },
            Self::Transfer(LeaseEnd::Expired) => Fallback::LeaseExpired,
            Self::Transfer(_) | Self::Commit(_) => Fallback::TransferFailed,
            Self::Deadline(_) => Fallback::Deadline,
        }
    }
}

impl Remote {
    /// Runs the prefill there, or here if that fails.
    ///
    /// # Errors
    /// Only when the round itself cannot go on.
    pub(super) async fn run(self) -> Result<PrefillReport, ErrorDetail> {
        let started = Instant::now();
        let report = |place, fallback, done: PrefillDone| PrefillReport {
            place,
            worker: Some(self.target.worker.clone()),
            fallback,
            queue_s: done.queue_s,
            seconds: started.elapsed().as_secs_f64(),
            pulled_tokens: done.pulled_tokens,
            cached_tokens: done.cached_tokens,
        };
        let failure = match self.attempt().await {
            Ok(done) => return Ok(report(PrefillPlace::Remote, None, done)),
            Err(failure) => failure,
        };
        let reason = failure.reason();
        tracing::warn!(
            request_id = self.request_id, session = self.session, trace = %self.trace,
            worker = self.target.worker, reason = reason.as_str(), error = chain(&failure),
            "the prefill runs here instead"
        );
        let round = self.round;
        let here = self.worker.engine.call(move |core| match failure {
            Failure::Lease(_) => core.engine().run_local(round, Instant::now()),
            _ => core.engine().abort_remote(round, Instant::now()),
        });
        match here.await {
            Ok(Ok(())) => Ok(report(PrefillPlace::Local, Some(reason), PrefillDone::default())),
            Ok(Err(error)) => Err(engine_detail(&error)),
            Err(gone) => Err(ErrorDetail::new(ErrorCode::EngineFailed, gone.to_string())),
        }
    }

    async fn attempt(&self) -> Result<PrefillDone, Failure> {
        let round = self.round;
        let engine = &self.worker.engine;
        let range = engine.call(move |core| core.engine().lease_remote(round, Instant::now())).await?;
        let range = range.map_err(Failure::Lease)?;
        let deadline = self.deadline(range);
        let done = timeout(deadline, self.elsewhere(range)).await;
        let done = done.unwrap_or(Err(Failure::Deadline(deadline)))?;
        let commit = engine.call(move |core| core.engine().commit_remote(round, Instant::now()));
        commit.await?.map_err(Failure::Commit)?;
        Ok(done)
    }

    /// Has the KV of `range` computed and written. The lease ends with this, and with the stream the task at the
    /// prefill worker.
    async fn elsewhere(&self, range: RemoteRange) -> Result<PrefillDone, Failure> {
        let side = &self.side;
        let grant = Grant {
            round: self.round.0,
            requester: side.prefill_uri.clone(),
            history: range.history,
            end: range.end,
        };
        let lease = side.leases.grant(grant, MAX_LEASE)?;
        let task = PrefillTask {
            task: format!("{}-{}", self.worker.name, self.round),
            request_id: self.request_id.clone(),
            session: self.session.clone(),
            salt: self.salt,
            tokens: self.tokens[..range.end].to_vec(),
            history: range.history,
            handle: lease.handle().to_hex(),
            kv_addr: side.kv_addr.clone(),
            kv_server_name: side.own_uri.clone(),
            age_ms: self.arrival.elapsed().as_millis() as u64,
            ttft_slo_ms: self.ttft_slo_ms,
        };
        let deadlines = Deadlines { call: SILENCE, prefill_silence: SILENCE, ..Deadlines::default() };
        let client = ControlClient::new(side.http.clone(), &self.target.url, deadlines);
        let trace = self.trace.new_child().to_string();
        let mut stream = client.traced(Some(&trace)).prefill(&task).await?;
        tokio::select! {
            biased;
            done = follow(&mut stream, &lease) => done,
            end = lease.ended() => match timeout(LAST_WORD, follow(&mut stream, &lease)).await {
                Ok(outcome) if end != LeaseEnd::Complete => outcome.and(Err(Failure::Transfer(end))),
                Ok(Ok(done)) => Ok(done),
                // All KV is here; what becomes of its sender does not matter any more.
                _ if end == LeaseEnd::Complete => Ok(PrefillDone::default()),
                _ => Err(Failure::Transfer(end)),
            },
        }
    }

    fn deadline(&self, range: RemoteRange) -> Duration {
        let perf = self.worker.stats.perf();
        let tokens = range.end as f64;
        let predicted = perf.prefill_s(range.history as f64, (range.end - range.history) as f64)
            + perf.transfer_s(tokens);
        // Who chose the prefill worker knows what waits there.
        let asked = self.target.deadline_ms.map(Duration::from_millis);
        asked.map_or_else(|| prefill_deadline(predicted), |asked| asked.min(MAX_PREFILL_DEADLINE))
    }
}

/// Reads the stream to its end; each line shows that the worker lives, and renews the lease.
async fn follow(stream: &mut EventStream<PrefillEvent>, lease: &Lease) -> Result<PrefillDone, Failure> {
    loop {
        match stream.next().await? {
            Some(PrefillEvent::Done(done)) => return Ok(done),
            Some(PrefillEvent::Error(detail)) => return Err(Failure::Worker(detail)),
            // That the lease has ended is seen by who waits for it.
            Some(PrefillEvent::Queued { .. } | PrefillEvent::Ping {} | PrefillEvent::Started {}) => {
                let _ = lease.renew(MAX_LEASE);
            }
            None => return Err(Failure::Ended),
        }
    }
}
