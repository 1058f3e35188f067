//! Taking tasks from the queue, as far ahead as their history's transfer should overlap with the tasks before.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PrefillSide;
use super::task::Task;
use crate::server::engine::EngineHandle;
use crate::server::load::Load;
use crate::server::stats::Stats;

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
    let tasks = TaskTracker::new();
    let _ = stop.run_until_cancelled(take_all(&context, &tasks, &stop)).await;
    tasks.close();
    tasks.wait().await;
}

async fn take_all(context: &Arc<Dispatch>, tasks: &TaskTracker, stop: &CancellationToken) {
    loop {
        let perf = || {
            let busy = context.load.engine_s(&context.engine.load());
            (context.stats.perf(), busy)
        };
        let (job, preparing, overtaken) = context.side.queue.next(perf).await;
        context.stats.metrics().postponements.inc_by(overtaken as u64);
        let task = Task { context: context.clone(), job, turn: Some(preparing) };
        let task = Box::pin(task.run());
        let stop = stop.clone();
        tasks.spawn(async move { stop.run_until_cancelled_owned(task).await });
    }
}
