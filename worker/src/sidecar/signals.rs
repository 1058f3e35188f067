//! The load of the prefill workers, as old as it may be, with this sidecar's own dispatches added.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ampd_perfmodel::{PerfModel, sane};
use ampd_scheduler::{Freshness, InFlight, PrefillLoad, SignalAges};
use parking_lot::Mutex;

use super::clock::Clock;
use super::health::{Failure, Health};
use super::load::WorkerLoad;
use super::suspicion::Suspicion;
use crate::protocol::Fallback;

/// The signals of all followed prefill workers, by name.
#[derive(Debug)]
pub(super) struct Signals {
    clock: Clock,
    ages: SignalAges,
    workers: Mutex<HashMap<String, Signal>>,
    inflight: Mutex<InFlight<u64>>,
    dispatches: AtomicU64,
}

#[derive(Debug)]
struct Signal {
    /// Names it in the accounting of dispatches.
    id: u64,
    load: WorkerLoad,
    /// When that was true; never at first.
    at_s: f64,
    health: Health,
    suspicion: Suspicion,
}

/// One prefill under way on a worker; over when dropped.
#[derive(Debug)]
pub(super) struct Dispatch {
    signals: Arc<Signals>,
    task: u64,
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        self.signals.inflight.lock().done(&self.task);
    }
}

impl Signals {
    pub(super) fn new(clock: Clock, ages: SignalAges) -> Self {
        Self {
            clock,
            ages,
            workers: Mutex::default(),
            inflight: Mutex::default(),
            dispatches: AtomicU64::new(0),
        }
    }

    /// Follows these workers and forgets all others.
    pub(super) fn follow<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let now_s = self.clock.now_s();
        let mut workers = self.workers.lock();
        let mut before = std::mem::take(&mut *workers);
        for name in names {
            let signal = before.remove(name).unwrap_or_else(|| Signal {
                id: self.dispatches.fetch_add(1, Ordering::Relaxed),
                // Until something is known a worker is taken for idle and able.
                load: WorkerLoad { ready: true, max_context: u64::MAX, ..WorkerLoad::default() },
                at_s: f64::NEG_INFINITY,
                health: Health::new(true, now_s),
                suspicion: Suspicion::default(),
            });
            workers.insert(name.to_owned(), signal);
        }
    }

    /// Takes in a load that was true at `at_s`; an older one than is known is left out.
    pub(super) fn read(&self, name: &str, load: WorkerLoad, at_s: f64) {
        self.with(name, |signal| {
            if at_s >= signal.at_s {
                (signal.load, signal.at_s) = (load, at_s);
                signal.suspicion.seen_alive(at_s);
            }
        });
    }

    /// Notes that the worker itself has answered, whatever it said.
    pub(super) fn answered(&self, name: &str) {
        let now_s = self.clock.now_s();
        self.with(name, |signal| {
            signal.health.answered(now_s);
        });
    }

    /// Notes that the worker itself did not answer.
    pub(super) fn failed(&self, name: &str, failure: Failure) {
        let now_s = self.clock.now_s();
        if self.with(name, |signal| signal.health.failed(failure, now_s)) == Some(true) {
            tracing::warn!(worker = name, ?failure, "a prefill worker is gone");
        }
    }

    /// Notes how a prefill that was sent to the worker ended.
    pub(super) fn ended(&self, name: &str, fallback: Option<Fallback>) {
        let now_s = self.clock.now_s();
        self.with(name, |signal| match fallback {
            None => signal.suspicion.cleared(),
            Some(fallback) => signal.suspicion.failed(fallback, now_s),
        });
    }

    /// Notes a prefill sent to the worker that will keep it busy for `predicted_s` seconds.
    pub(super) fn dispatch(self: &Arc<Self>, name: &str, predicted_s: f64) -> Dispatch {
        let now_s = self.clock.now_s();
        let task = self.dispatches.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = self.with(name, |signal| signal.id) {
            self.inflight.lock().sent(task, id, predicted_s, now_s);
        }
        Dispatch { signals: self.clone(), task }
    }

    /// What each of so many prefill workers is expected to get from others than this one of so many sidecars, seconds of work a second.
    pub(super) fn others(&self, sidecars: usize, workers: usize) -> f64 {
        let now_s = self.clock.now_s();
        self.inflight.lock().others(sidecars, workers, now_s)
    }

    /// What a routing policy with this performance model sees of the worker when a prompt of so many tokens is to be
    /// prefilled, while others send it as much as [`Self::others`] says.
    pub(super) fn load(&self, name: &str, prompt: usize, model: &PerfModel, others: f64) -> PrefillLoad {
        let now_s = self.clock.now_s();
        let seen = self.with(name, |signal| {
            let Signal { id, load, at_s, health, suspicion } = signal;
            let seen = PrefillLoad {
                windowed_ttft_s: load.windowed_ttft_s,
                backlog_s: 0.0,
                cached_history: None,
                prefill_ratio: ratio(load.speed.prefill_s, model.reference().prefill_s),
                fresh: self.ages.of(now_s - *at_s) != Freshness::Stale,
                ready: load.ready
                    && prompt as u64 <= load.max_context
                    && health.alive()
                    && !suspicion.holds(now_s),
            };
            (*id, (load.backlog_s, *at_s), seen)
        });
        let Some((id, signal, seen)) = seen else { return PrefillLoad::default() };
        let backlog_s = self.inflight.lock().backlog_s(id, signal, others, now_s);
        PrefillLoad { backlog_s, ..seen }
    }

    /// Whether the worker is believed to take prefills.
    pub(super) fn ready(&self, name: &str) -> bool {
        let now_s = self.clock.now_s();
        self.with(name, |signal| signal.load.ready && signal.health.alive() && !signal.suspicion.holds(now_s))
            .unwrap_or(false)
    }

    /// Most tokens of one of its steps, once it has told.
    pub(super) fn token_budget(&self, name: &str) -> Option<u32> {
        self.with(name, |signal| signal.load.token_budget).filter(|budget| *budget > 0)
    }

    /// Names and ages of all signals, seconds; never read is infinitely old.
    pub(super) fn ages(&self) -> Vec<(String, f64)> {
        let now_s = self.clock.now_s();
        self.workers.lock().iter().map(|(name, signal)| (name.clone(), now_s - signal.at_s)).collect()
    }

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&mut Signal) -> T) -> Option<T> {
        self.workers.lock().get_mut(name).map(use_it)
    }
}

/// Its own time over the model's; 1 where it tells none.
fn ratio(told_s: f64, model_s: f64) -> f64 {
    let ratio = sane(sane(told_s) / model_s);
    if ratio > 0.0 { ratio } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{PrefillSegment, Transfer};

    use super::super::load::Speed;
    use super::*;

    /// A millisecond for each token.
    fn model() -> PerfModel {
        PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1e-3, k2: 0.0 }],
            decode: Vec::new(),
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        }
    }

    fn seen(signals: &Signals, name: &str) -> PrefillLoad {
        signals.load(name, 1, &model(), 0.0)
    }

    fn signals() -> Arc<Signals> {
        let signals = Signals::new(Clock::new(), SignalAges::default());
        signals.follow(["p0", "p1"].into_iter());
        Arc::new(signals)
    }

    fn busy(backlog_s: f64) -> WorkerLoad {
        WorkerLoad { ready: true, max_context: u64::MAX, backlog_s, ..WorkerLoad::default() }
    }

    #[test]
    fn unknown_workers_may_be_used_but_not_judged() {
        let load = seen(&signals(), "p0");
        assert!(load.ready && !load.fresh && load.backlog_s == 0.0);
        assert!(!seen(&signals(), "nobody").ready);
    }

    #[test]
    fn a_worker_is_as_fast_as_it_says() {
        let signals = signals();
        let speed = Speed { prefill_s: 1.024, step_s: 0.0 };
        signals.read("p0", WorkerLoad { speed, token_budget: 64, ..busy(0.0) }, signals.clock.now_s());
        assert!((seen(&signals, "p0").prefill_ratio - 2.0).abs() < 1e-9);
        assert_eq!((seen(&signals, "p1").prefill_ratio, signals.token_budget("p1")), (1.0, None));
        assert_eq!(signals.token_budget("p0"), Some(64));
        assert!(signals.ready("p0") && !signals.ready("nobody"));
    }

    #[test]
    fn own_dispatches_count_until_a_signal_knows_of_them() {
        let signals = signals();
        signals.read("p0", busy(100.0), signals.clock.now_s());
        let dispatch = signals.dispatch("p0", 50.0);
        let both = seen(&signals, "p0").backlog_s;
        assert!((149.0..=150.0).contains(&both), "{both}");
        assert_eq!(seen(&signals, "p1").backlog_s, 0.0);
        // It is over, and the signal is older than that.
        drop(dispatch);
        assert!((149.0..=150.0).contains(&seen(&signals, "p0").backlog_s));
        signals.read("p0", busy(100.0), signals.clock.now_s());
        assert!((99.0..=100.0).contains(&seen(&signals, "p0").backlog_s));
    }

    #[test]
    fn others_are_expected_to_send_as_much() {
        let signals = signals();
        let now_s = signals.clock.now_s();
        signals.read("p0", busy(8.0), now_s - 2.0);
        let alone = seen(&signals, "p0").backlog_s;
        assert!((5.9..=6.0).contains(&alone), "{alone}");
        // 10 s of work in the last 10 s to the other worker: two others send as much to both.
        drop(signals.dispatch("p1", 10.0));
        let shared = signals.load("p0", 1, &model(), signals.others(3, 2)).backlog_s;
        assert!((7.9..=8.0).contains(&shared), "{shared}");
    }

    #[test]
    fn old_signals_lose_their_standing_and_never_replace_newer_ones() {
        let signals = signals();
        let now_s = signals.clock.now_s();
        signals.read("p0", busy(1.0), now_s - 5.0);
        assert!(seen(&signals, "p0").fresh);
        signals.read("p0", busy(9.0), now_s - 11.0);
        assert!(seen(&signals, "p0").backlog_s <= 1.0);
        signals.read("p1", busy(1.0), now_s - 11.0);
        assert!(!seen(&signals, "p1").fresh && seen(&signals, "p1").ready);
    }

    #[test]
    fn who_fails_is_left_alone_for_a_while() {
        let signals = signals();
        signals.ended("p0", Some(Fallback::TransferFailed));
        assert!(!seen(&signals, "p0").ready && seen(&signals, "p1").ready);
        signals.ended("p0", None);
        assert!(seen(&signals, "p0").ready);
        signals.failed("p1", Failure::Refused);
        assert!(!seen(&signals, "p1").ready);
        signals.follow(["p1"].into_iter());
        assert!(!seen(&signals, "p0").ready && !seen(&signals, "p1").ready);
    }
}
