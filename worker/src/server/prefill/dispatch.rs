//! Taking tasks from the queue, as far ahead as their history's transfer should overlap with the tasks before.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PrefillSide;
use super::task::Task;
use crate::server::engine::EngineHandle;
use crate::server::load::Load;
use crate::server::stats::Stats;

/// Tasks that pull their history while others compute. Two, so that one slow sender does not hold up all others.
const AHEAD: usize = 2;

/// What tasks need.
pub(in crate::server) struct Dispatch {
    pub side: Arc<PrefillSide>,
    pub engine: EngineHandle,
    pub stats: Arc<Stats>,
    pub load: Arc<Load>,
}

/// Runs tasks until `stop`; then those that run are cancelled, and all have ended when this returns.
pub(in crate::server) async fn dispatch(context: Dispatch, stop: CancellationToken) {
    let context = Arc::new(context);
    let ahead = Arc::new(Semaphore::new(AHEAD));
    let tasks = TaskTracker::new();
    let _ = stop.run_until_cancelled(take_all(&context, &ahead, &tasks, &stop)).await;
    tasks.close();
    tasks.wait().await;
}

async fn take_all(
    context: &Arc<Dispatch>,
    ahead: &Arc<Semaphore>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    // The semaphore is never closed.
    while let Ok(place) = ahead.clone().acquire_owned().await {
        let perf = || {
            let busy = context.load.engine_s(&context.engine.load());
            (context.stats.perf(), busy)
        };
        let (job, preparing, overtaken) = context.side.queue.next(perf).await;
        context.stats.metrics().postponements.inc_by(overtaken as u64);
        let task = Task { context: context.clone(), job, turn: Some((preparing, place)) };
        let task = Box::pin(task.run());
        let stop = stop.clone();
        tasks.spawn(async move { stop.run_until_cancelled_owned(task).await });
    }
}
