//! One prefill task from its turn to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::{EngineError, Event, RoundError};
use ampd_kv::{KvError, Pull, Reason, Transfer};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{SemaphorePermit, mpsc};

use super::dispatch::Dispatch;
use super::queue::{Job, Preparing};
use crate::process::chain;
use crate::protocol::{ErrorCode, ErrorDetail, PrefillDone, PrefillEvent};
use crate::server::engine::{Computing, Core, EngineGone, Pieces, RoundGuard};
use crate::server::error::{engine_detail, round_detail};
use crate::server::kv_store::{finish, give_up};

/// How long a task waits for KV blocks that other tasks hold.
const BLOCKS_PATIENCE: Duration = Duration::from_secs(5);
/// Pieces of KV on their way into the engine, or out of it, at once. The engine takes them between two steps: as many as most models
/// have layers, so that a history is there after one step of other tasks. More would hold more memory.
const AT_ONCE: usize = 64;
/// How often it asks.
const BLOCKS_RETRY: Duration = Duration::from_millis(20);

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("KV could not be moved")]
    Transfer(#[from] KvError),
    #[error("the lease is for tokens {got:?}, the task for {expected:?}")]
    Range { got: std::ops::Range<usize>, expected: std::ops::Range<usize> },
    #[error("computed KV did not leave fast enough")]
    Slow,
    #[error("the engine refused")]
    Engine(#[from] EngineError),
    #[error("the prefill failed")]
    Round(#[from] RoundError),
    #[error(transparent)]
    Gone(#[from] EngineGone),
}

impl TaskError {
    fn detail(&self) -> ErrorDetail {
        let code = match self {
            Self::Transfer(_) | Self::Range { .. } | Self::Slow => ErrorCode::TransferFailed,
            Self::Engine(error) => engine_detail(error).code,
            Self::Round(error) => round_detail(error).code,
            Self::Gone(_) => ErrorCode::EngineFailed,
        };
        ErrorDetail::new(code, chain(self))
    }

    /// Why the transfer ended, unless it failed by itself.
    fn transfer_reason(&self) -> Reason {
        match self {
            Self::Transfer(error) => error.reason(),
            _ => Reason::Aborted,
        }
    }
}

/// A task whose turn it is.
pub(super) struct Task {
    pub context: Arc<Dispatch>,
    pub job: Job,
    /// Its place among those that prepare, until it is in the engine.
    pub turn: Option<Preparing>,
}

/// A prefill that is open in the engine. Dropping it gives everything back at once.
struct Prepared {
    guard: RoundGuard,
    /// First token to compute.
    from: usize,
    cached: usize,
    pulled: usize,
    pull_s: f64,
    /// It is computed already.
    computing: Option<Computing>,
}

/// A piece of KV with its place among those that are held in memory.
type Placed<'a> = (ampd_kv::Piece, SemaphorePermit<'a>);

impl Task {
    /// Runs the task; its end is told to whoever waits for it.
    pub(super) async fn run(mut self) {
        let cancel = self.job.cancel.clone();
        let mut transfer = None;
        let outcome = cancel.run_until_cancelled(self.work(&mut transfer)).await;
        self.turn = None;
        let metrics = self.context.stats.metrics();
        let (label, reason, last) = match outcome {
            None => ("cancelled", Reason::Aborted, None),
            Some(Ok(done)) => ("ok", Reason::Aborted, Some(PrefillEvent::Done(done))),
            Some(Err(error)) => {
                let job = &self.job.task;
                tracing::warn!(
                    request_id = job.request_id,
                    task = job.task,
                    error = chain(&error),
                    "a prefill failed"
                );
                ("error", error.transfer_reason(), Some(PrefillEvent::Error(error.detail())))
            }
        };
        metrics.prefills.with(["remote", label]).inc();
        if let Some(last) = last {
            self.tell(last);
        }
        if let Some(transfer) = transfer {
            give_up(metrics, transfer, reason).await;
        }
    }

    /// The channel holds all events of a task, and a receiver that is gone has cancelled it.
    fn tell(&self, event: PrefillEvent) {
        let _ = self.job.events.try_send(event);
    }

    /// Computes the KV and moves it; `slot` holds the transfer from its opening until everything is pushed.
    async fn work(&mut self, slot: &mut Option<Transfer>) -> Result<PrefillDone, TaskError> {
        let begun = Instant::now();
        let Job { task, handle, .. } = &self.job;
        let (tokens, salt, history) = (task.tokens.clone(), task.salt.0, task.history);
        let side = &self.context.side;
        let transfer = slot.insert(side.kv.open(&task.kv_addr, &side.decode_uri, handle).await?);
        let expected = history..tokens.len();
        if transfer.range() != expected {
            return Err(TaskError::Range { got: transfer.range(), expected });
        }
        // The engine answers between two steps only: what can be done in one go is.
        let open = move |core: &mut Core| {
            let (opened, guard) = core.open_prefill(tokens, salt)?;
            let cached = opened.cached;
            let starts = cached == history;
            let computing = if starts { core.try_start_prefill(guard.id(), history)? } else { None };
            Ok::<_, EngineError>((cached, guard, computing))
        };
        let (cached, guard, computing) = self.context.engine.call(open).await??;
        let prepared = self.prepare(guard, cached, computing, transfer, begun).await?;
        let Prepared { guard, from, cached, pulled, pull_s, computing } = prepared;
        if computing.is_none() {
            self.wait_for_room().await;
        }
        let started = Instant::now();
        let (events, pieces) = if let Some(computing) = computing {
            computing
        } else {
            let id = guard.id();
            self.context.engine.call(move |core| core.start_prefill(id, from)).await??
        };
        self.turn = None;
        self.tell(PrefillEvent::Started {});
        push(transfer, pieces, events).await?;
        let metrics = self.context.stats.metrics();
        metrics.prefill_seconds.observe(started.elapsed().as_secs_f64());
        if let Some(transfer) = slot.take() {
            finish(metrics, transfer).await?;
        }
        self.context.stats.first_token(self.job.arrival.elapsed());
        let waited = started.duration_since(self.job.queued).as_secs_f64();
        let queue_s = (waited - pull_s).max(0.0);
        metrics.prefill_queue_seconds.observe(queue_s);
        Ok(PrefillDone {
            queue_s,
            pull_s,
            compute_s: started.elapsed().as_secs_f64(),
            pulled_tokens: pulled as u64,
            cached_tokens: cached as u64,
        })
    }

    /// Brings prefill and transfer, which began to be opened at `begun`, to where the increment can be computed: the
    /// history that is not cached here is pulled, what is cached beyond it is pushed.
    async fn prepare(
        &self,
        guard: RoundGuard,
        cached: usize,
        mut computing: Option<Computing>,
        transfer: &mut Transfer,
        begun: Instant,
    ) -> Result<Prepared, TaskError> {
        let task = &self.job.task;
        let engine = &self.context.engine;
        let id = guard.id();
        // Known without the engine, which answers between two steps only.
        let layers = self.context.side.layers;
        if cached < task.history {
            computing = self.pull(&guard, transfer.pull(0..layers, cached..task.history)?).await?;
        }
        if cached > task.history {
            let tokens = task.history..cached;
            let read = |layer| {
                let (span, places) = (tokens.clone(), &self.context.side.pieces);
                async move {
                    // Never closed.
                    let place = places.acquire().await.map_err(|_| EngineGone)?;
                    let read = engine.transfer(move |core| {
                        let mut out = Vec::new();
                        core.engine().read_kv(id, layer, span, &mut out).map(|()| out)
                    });
                    Ok::<_, EngineGone>((read.await?, place))
                }
            };
            let mut reads = futures::stream::iter(0..layers).map(read).buffered(AT_ONCE).enumerate();
            while let Some((layer, read)) = reads.next().await {
                let (data, _place) = read?;
                transfer.push(layer, tokens.clone(), data?.into()).await?;
            }
        }
        let pulled = task.history.saturating_sub(cached);
        let pull_s = if pulled > 0 { begun.elapsed().as_secs_f64() } else { 0.0 };
        Ok(Prepared { guard, from: cached.max(task.history), cached, pulled, pull_s, computing })
    }

    /// Writes the pulled pieces, some at once: the engine takes them between two steps, and a piece a step would be slow. The
    /// prefill is started behind the last of them, if the engine has room for it then.
    async fn pull(&self, guard: &RoundGuard, mut pull: Pull<'_>) -> Result<Option<Computing>, TaskError> {
        let (id, from) = (guard.id(), self.job.task.history);
        let start = self.context.engine.transfer(move |core| core.try_start_prefill(id, from));
        tokio::pin!(start);
        let (mut imports, mut computing) = (FuturesUnordered::new(), None);
        let (mut more, mut starts) = (true, true);
        while more || starts || !imports.is_empty() {
            tokio::select! {
                // First, so that all pieces are on their way before the start is.
                biased;
                Some(imported) = imports.next() => imported?,
                piece = self.piece(&mut pull), if more && imports.len() < AT_ONCE => match piece? {
                    Some(piece) => imports.push(self.import(guard, piece)),
                    None => more = false,
                },
                started = &mut start, if !more && starts => {
                    starts = false;
                    computing = started??;
                }
            }
        }
        Ok(computing)
    }

    /// The next piece, once there is a place for it.
    async fn piece(&self, pull: &mut Pull<'_>) -> Result<Option<Placed<'_>>, TaskError> {
        // Never closed.
        let place = self.context.side.pieces.acquire().await.map_err(|_| EngineGone)?;
        Ok(pull.next().await?.map(|piece| (piece, place)))
    }

    /// Writes a pulled piece. Blocks that other tasks hold come free when those end.
    async fn import(&self, guard: &RoundGuard, (piece, _place): Placed<'_>) -> Result<(), TaskError> {
        let id = guard.id();
        let patience = Instant::now() + BLOCKS_PATIENCE;
        loop {
            let ampd_kv::Piece { layer, tokens, data } = piece.clone();
            let write =
                self.context.engine.transfer(move |core| core.engine().import(id, layer, tokens, &data));
            match write.await? {
                Err(EngineError::KvExhausted { .. }) if Instant::now() < patience => {
                    tokio::time::sleep(BLOCKS_RETRY).await;
                }
                written => return Ok(written?),
            }
        }
    }

    /// Waits until the engine has less than a step's worth of prompts to compute, so that small tasks share steps and
    /// large ones leave the order of those behind them open.
    async fn wait_for_room(&self) {
        let budget = self.context.side.token_budget;
        let mut load = self.context.engine.watch_load();
        // An engine that is gone is noticed by the next call.
        let _ = load.wait_for(|load| load.engine.waiting_prefill_tokens < budget).await;
    }
}

/// Pushes the new KV while it is computed; returns when all of it is handed over.
async fn push(
    transfer: &mut Transfer,
    mut pieces: Pieces,
    mut events: mpsc::Receiver<Event>,
) -> Result<(), TaskError> {
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            error = transfer.failed() => return Err(error.into()),
        };
        let Some(piece) = piece else { break };
        transfer.push(piece.layer, piece.tokens, piece.data).await?;
    }
    // The engine tells the end before it closes the pieces' channel.
    match events.try_recv() {
        Ok(Event::PrefillDone { .. }) => Ok(()),
        Ok(Event::Failed { error, .. }) => Err(error.into()),
        Err(mpsc::error::TryRecvError::Disconnected) => Err(EngineGone.into()),
        _ => Err(TaskError::Slow),
    }
}
