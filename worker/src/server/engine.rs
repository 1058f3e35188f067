//! The engine on its own thread, and the way to it from async code.

mod core;
mod guard;
mod hook;
mod local_order;
mod pacing;
mod snapshot;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use ampd_engine::core::{Engine, RoundId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(super) use self::core::{Computing, Core};
pub(super) use guard::RoundGuard;
pub(super) use hook::Pieces;
pub(super) use pacing::Pacing;
pub(super) use snapshot::Snapshot;
pub(super) use thread::EngineEnd;

use super::stats::Stats;

/// Calls that wait for the thread.
const CONTROL_QUEUE: usize = 1024;
/// KV reads and writes that wait for it: as many as are taken between two steps. Whoever sends one has its data, of up to a
/// megabyte, in memory anyhow.
const TRANSFER_QUEUE: usize = thread::JOBS_PER_STEP;
/// How long a call may wait: many times the longest step.
const CALL_DEADLINE: Duration = Duration::from_mins(1);

type Job = Box<dyn FnOnce(&mut Core) + Send>;

/// The engine does not answer: its thread has ended, or one step takes longer than any should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine does not answer")]
pub(super) struct EngineGone;

/// The way to the engine. Cloning is cheap.
#[derive(Clone)]
pub(super) struct EngineHandle {
    control: mpsc::Sender<Job>,
    transfer: mpsc::Sender<Job>,
    load: watch::Receiver<Arc<Snapshot>>,
}

/// What the thread receives.
struct Inbox {
    control: mpsc::Receiver<Job>,
    transfer: mpsc::Receiver<Job>,
    /// Rounds whose guards were dropped. Unbounded, but each round has one guard, and rounds are bounded.
    cancels: mpsc::UnboundedReceiver<RoundId>,
    stop: CancellationToken,
}

/// Starts the thread, with local prefills paced and ordered by slack if so asked. It ends when `stop` is cancelled or the
/// engine is found broken; the receiver tells which.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn spawn(
    engine: Engine,
    stats: Arc<Stats>,
    pacing: Option<Pacing>,
    stop: CancellationToken,
) -> std::io::Result<(EngineHandle, oneshot::Receiver<EngineEnd>)> {
    let (control, control_inbox) = mpsc::channel(CONTROL_QUEUE);
    let (transfer, transfer_inbox) = mpsc::channel(TRANSFER_QUEUE);
    let (cancel, cancels) = mpsc::unbounded_channel();
    let (ended, end) = oneshot::channel();
    let inbox = Inbox { control: control_inbox, transfer: transfer_inbox, cancels, stop };
    let runtime = tokio::runtime::Handle::current();
    let mut core = Core::new(engine, stats, pacing, cancel, runtime.clone());
    let (publish, load) = watch::channel(Arc::new(core.snapshot()));
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let end = thread::run(core, inbox, &publish, &runtime);
        // Nobody listens any more if the process is on its way out.
        let _ = ended.send(end);
    })?;
    Ok((EngineHandle { control, transfer, load }, end))
}

impl EngineHandle {
    /// Runs `job` on the engine's thread between two steps.
    ///
    /// # Errors
    /// When the engine does not answer. The job may run nevertheless: what it returns is dropped then.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, EngineGone> {
        enqueue(&self.control, job).await
    }

    /// The same for moving KV, which has a short queue of its own since each job carries data.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) async fn transfer<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, EngineGone> {
        enqueue(&self.transfer, job).await
    }

    /// The load before the present step.
    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.load.borrow().clone()
    }

    /// A receiver that sees every change of the load.
    pub(super) fn watch_load(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.load.clone()
    }
}

async fn enqueue<T: Send + 'static>(
    queue: &mpsc::Sender<Job>,
    job: impl FnOnce(&mut Core) -> T + Send + 'static,
) -> Result<T, EngineGone> {
    let (answer, answered) = oneshot::channel();
    let job = Box::new(move |core: &mut Core| {
        // A caller that is gone drops the answer, and with it any guard of a round inside.
        let _ = answer.send(job(core));
    });
    let call = async {
        queue.send(job).await.map_err(|_| EngineGone)?;
        answered.await.map_err(|_| EngineGone)
    };
    tokio::time::timeout(CALL_DEADLINE, call).await.unwrap_or(Err(EngineGone))
}

#[cfg(test)]
mod tests;
