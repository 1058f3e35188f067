//! The decode worker beside this sidecar.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ampd_scheduler::MoveCandidate;
use parking_lot::Mutex;

use super::clock::Clock;
use super::epochs::Epochs;
use super::health::{Failure, Health};
use super::live::Live;
use super::load::WorkerLoad;
use super::wire::MemberStatus;

/// What is known of the own worker.
#[derive(Debug)]
pub(super) struct OwnWorker {
    name: String,
    clock: Clock,
    /// The sessions that are alive there.
    pub(super) live: Live,
    state: Mutex<(Health, WorkerLoad)>,
    fence: AtomicU64,
    /// Told to take nothing new.
    drained: AtomicBool,
}

impl OwnWorker {
    /// A worker that has not answered yet.
    pub(super) fn new(name: String, clock: Clock) -> Self {
        let state = Mutex::new((Health::new(false, clock.now_s()), WorkerLoad::default()));
        Self {
            name,
            clock,
            live: Live::new(clock),
            state,
            fence: AtomicU64::new(0),
            drained: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes in what the worker answered. When it was away, all bindings from before are void: their sessions may be bound
    /// elsewhere by now.
    pub(super) fn answered(&self, load: WorkerLoad, epochs: &Epochs) {
        let back = {
            let mut state = self.state.lock();
            let back = state.0.answered(self.clock.now_s());
            if back {
                self.fence.fetch_max(epochs.next(0), Ordering::Relaxed);
            }
            // A worker that loads its model cannot say yet, and its last word will hold again.
            let max_context = if load.max_context > 0 { load.max_context } else { state.1.max_context };
            state.1 = WorkerLoad { max_context, ..load };
            back
        };
        if back {
            tracing::info!(worker = self.name, "the own worker answers; older bindings are void");
        }
    }

    /// Takes in a call that failed.
    pub(super) fn failed(&self, failure: Failure) {
        let lost = self.state.lock().0.failed(failure, self.clock.now_s());
        if lost {
            tracing::warn!(worker = self.name, ?failure, "the own worker is gone");
        }
    }

    /// Begins to take nothing new, or takes it again.
    pub(super) fn drain(&self, drained: bool) {
        if self.drained.swap(drained, Ordering::Relaxed) != drained {
            tracing::info!(worker = self.name, drained, "draining");
        }
    }

    /// Whether it was told to take nothing new.
    pub(super) fn drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Whether it takes rounds.
    pub(super) fn ready(&self) -> bool {
        self.takes(&self.state.lock())
    }

    fn takes(&self, (health, load): &(Health, WorkerLoad)) -> bool {
        health.alive() && load.ready && !self.drained()
    }

    /// The load that it told last.
    pub(super) fn load(&self) -> WorkerLoad {
        self.state.lock().1
    }

    /// Longest prompt with its output that it can hold, tokens, once it has said so.
    pub(super) fn max_context(&self) -> Option<usize> {
        let known = self.state.lock().1.max_context;
        (known > 0).then(|| usize::try_from(known).unwrap_or(usize::MAX))
    }

    /// Bindings with an epoch up to this one are void.
    pub(super) fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    /// What moving sees of it when one of the open rounds is about to be opened.
    pub(super) fn move_candidate(&self) -> MoveCandidate {
        let load = self.load();
        MoveCandidate {
            rounds: self.live.rounds().saturating_sub(1),
            round_tokens: load.round_kv_tokens,
            live_tokens: load.round_kv_tokens.saturating_add(self.live.idle_tokens()),
            free_tokens: load.free_kv_tokens,
            step_ratio: 1.0,
            age_s: 0.0,
            sent: 0,
            ready: true,
        }
    }

    /// What other sidecars are told.
    pub(super) fn status(&self) -> MemberStatus {
        let state = self.state.lock();
        let (health, load) = &*state;
        MemberStatus {
            name: self.name.clone(),
            ready: self.takes(&state),
            free_kv_tokens: load.free_kv_tokens,
            kv_tokens: load.kv_tokens,
            sessions: load.sessions,
            live_sessions: Some(self.live.count()),
            running: load.running,
            mean_context: load.mean_context,
            windowed_itl_s: load.windowed_itl_s,
            backlog_s: load.backlog_s,
            open_rounds: Some(self.live.rounds()),
            round_kv_tokens: load.round_kv_tokens,
            idle_kv_tokens: self.live.idle_tokens(),
            reference_step_s: load.speed.step_s,
            age_ms: ((self.clock.now_s() - health.answered_s()).max(0.0) * 1e3) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_comes_back_voids_older_bindings() {
        let (own, epochs) = (OwnWorker::new("d0".into(), Clock::new()), Epochs::default());
        let ready = WorkerLoad { ready: true, max_context: 64, ..WorkerLoad::default() };
        assert!(!own.ready() && own.max_context().is_none());
        own.answered(ready, &epochs);
        assert!(own.ready() && own.status().ready);
        let first = own.fence();
        let binding = epochs.next(0);
        own.answered(ready, &epochs);
        assert!(own.fence() == first && binding > first);
        own.failed(Failure::Refused);
        assert!(!own.ready() && !own.status().ready);
        own.answered(ready, &epochs);
        own.answered(ready, &epochs);
        assert!(own.ready() && own.fence() > binding);
        own.answered(WorkerLoad::default(), &epochs);
        assert!(!own.ready() && own.max_context() == Some(64));
    }

    #[test]
    fn a_drained_worker_takes_nothing_until_it_may_again() {
        let (own, epochs) = (OwnWorker::new("d0".into(), Clock::new()), Epochs::default());
        let ready = WorkerLoad { ready: true, held_kv_tokens: 96, ..WorkerLoad::default() };
        own.answered(ready, &epochs);
        let fence = own.fence();
        own.drain(true);
        own.answered(ready, &epochs);
        assert!(!own.ready() && !own.status().ready && own.drained());
        assert_eq!(own.load().held_kv_tokens, 96);
        own.drain(false);
        // It was there all the time: its bindings hold.
        assert!(own.ready() && own.status().ready && own.fence() == fence);
    }
}
