//! The engine thread's loop: take what waits, publish the load, step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::RoundId;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Core, Inbox, Job, Snapshot};
use crate::process::chain;

/// How often time limits are looked at.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);
/// How often all blocks are counted again.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Pause when every round waits for blocks that opened or leased rounds hold.
const BLOCKED_PAUSE: Duration = Duration::from_millis(20);
/// Jobs taken between two steps.
pub(super) const JOBS_PER_STEP: usize = 256;

/// How the thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum EngineEnd {
    /// It was asked to.
    Stopped,
    /// The engine cannot be trusted any more; the reason.
    Broken(String),
}

/// What woke the thread.
enum Wake {
    Cancel(RoundId),
    Job(Job),
    Stop,
}

/// Runs until the end. A panic is a broken engine, not the end of the process without a word.
pub(super) fn run(
    mut core: Core,
    mut inbox: Inbox,
    load: &watch::Sender<Arc<Snapshot>>,
    runtime: &Handle,
) -> EngineEnd {
    let end = catch_unwind(AssertUnwindSafe(|| work(&mut core, &mut inbox, load, runtime)));
    let end = end.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        EngineEnd::Broken(format!("the engine panicked: {text}"))
    });
    if let EngineEnd::Broken(reason) = &end {
        tracing::error!(reason, "the engine is broken");
    }
    end
}

fn work(
    core: &mut Core,
    inbox: &mut Inbox,
    load: &watch::Sender<Arc<Snapshot>>,
    runtime: &Handle,
) -> EngineEnd {
    let (mut expire_at, mut check_at) = (Instant::now() + EXPIRE_EVERY, Instant::now() + CHECK_EVERY);
    loop {
        take_waiting(core, inbox);
        if inbox.stop.is_cancelled() {
            return EngineEnd::Stopped;
        }
        // Before the step, with what has come since the last one.
        let snapshot = Arc::new(core.snapshot());
        load.send_replace(snapshot.clone());
        let mut wait = Duration::ZERO;
        if core.engine().has_work() {
            match core.step(&snapshot) {
                Ok(true) => {}
                Ok(false) => wait = BLOCKED_PAUSE,
                Err(error) => return EngineEnd::Broken(chain(&error)),
            }
        } else {
            wait = EXPIRE_EVERY;
        }
        if !wait.is_zero() {
            match runtime.block_on(next(inbox, wait)) {
                Some(Wake::Cancel(round)) => core.cancel(round),
                Some(Wake::Job(job)) => run_job(core, inbox, job),
                Some(Wake::Stop) => return EngineEnd::Stopped,
                None => {}
            }
        }
        let now = Instant::now();
        if now >= expire_at {
            core.expire();
            expire_at = now + EXPIRE_EVERY;
        }
        if now >= check_at {
            if let Err(error) = core.check() {
                return EngineEnd::Broken(chain(&error));
            }
            check_at = now + CHECK_EVERY;
        }
    }
}

/// Does what waits, without waiting for more.
fn take_waiting(core: &mut Core, inbox: &mut Inbox) {
    cancel_waiting(core, inbox);
    for _ in 0..JOBS_PER_STEP {
        let Ok(job) = inbox.control.try_recv() else { break };
        run_job(core, inbox, job);
    }
    for _ in 0..JOBS_PER_STEP {
        let Ok(job) = inbox.transfer.try_recv() else { break };
        run_job(core, inbox, job);
    }
}

fn cancel_waiting(core: &mut Core, inbox: &mut Inbox) {
    while let Ok(round) = inbox.cancels.try_recv() {
        core.cancel(round);
    }
}

/// Runs a job after what was cancelled before it was sent: whoever cancels a round and opens the session's next one finds
/// the session free.
fn run_job(core: &mut Core, inbox: &mut Inbox, job: Job) {
    cancel_waiting(core, inbox);
    job(core);
}

/// The next thing to do, within `wait`.
async fn next(inbox: &mut Inbox, wait: Duration) -> Option<Wake> {
    let Inbox { control, transfer, cancels, stop } = inbox;
    let woken = async {
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            Some(round) = cancels.recv() => Wake::Cancel(round),
            Some(job) = control.recv() => Wake::Job(job),
            Some(job) = transfer.recv() => Wake::Job(job),
        }
    };
    tokio::time::timeout(wait, woken).await.ok()
}
