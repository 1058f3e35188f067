//! What this router has sent out itself: a worker's signal is always a little old, and routers that trust it alone all
//! send to the same worker until the next reading.

use std::collections::BTreeMap;

use ampd_perfmodel::sane;

/// Own dispatches, by worker and task. Sums are taken in the order of the dispatches, so that equal histories give
/// equal bits.
#[derive(Debug, Clone)]
pub struct InFlight<K> {
    workers: BTreeMap<u64, Vec<Task<K>>>,
}

#[derive(Debug, Clone, Copy)]
struct Task<K> {
    key: K,
    sent_s: f64,
    predicted_s: f64,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self { workers: BTreeMap::new() }
    }
}

impl<K: PartialEq> InFlight<K> {
    /// Notes that `task`, predicted to keep the worker busy for `predicted_s` seconds, was sent to `worker` at `now_s`.
    pub fn sent(&mut self, task: K, worker: u64, predicted_s: f64, now_s: f64) {
        self.done(&task);
        let task = Task { key: task, sent_s: now_s, predicted_s: sane(predicted_s) };
        self.workers.entry(worker).or_default().push(task);
    }

    /// Notes that `task` is over, however it ended.
    pub fn done(&mut self, task: &K) {
        self.workers.retain(|_, tasks| {
            tasks.retain(|other| other.key != *task);
            !tasks.is_empty()
        });
    }

    /// The backlog of `worker` at `now_s`, seconds: what its signal of `signal_s` said, less the time since, plus what
    /// was sent after the signal was taken. Tasks sent before it are in the signal already.
    #[must_use]
    pub fn backlog_s(&self, worker: u64, signalled_s: f64, signal_s: f64, now_s: f64) -> f64 {
        let elapsed = sane(now_s - signal_s);
        let tasks = self.workers.get(&worker).map_or(&[][..], Vec::as_slice);
        let sent: f64 =
            tasks.iter().filter(|task| task.sent_s >= signal_s).map(|task| task.predicted_s).sum();
        sane(sane(signalled_s) + sent - elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatches_since_the_signal_are_added() {
        let mut inflight = InFlight::default();
        inflight.sent("before", 1, 5.0, 0.9);
        inflight.sent("after", 1, 2.0, 1.1);
        inflight.sent("elsewhere", 2, 7.0, 1.1);
        assert!((inflight.backlog_s(1, 4.0, 1.0, 1.5) - 5.5).abs() < 1e-12);
        inflight.done(&"after");
        assert!((inflight.backlog_s(1, 4.0, 1.0, 1.5) - 3.5).abs() < 1e-12);
    }

    #[test]
    fn a_backlog_is_never_negative_nor_nonsense() {
        let mut inflight = InFlight::default();
        inflight.sent(1, 1, f64::NAN, 0.0);
        assert_eq!(inflight.backlog_s(1, 1.0, 0.0, 100.0), 0.0);
        assert_eq!(inflight.backlog_s(1, f64::INFINITY, f64::NAN, 0.0), 0.0);
    }
}
