//! What this router has sent out itself: a worker's signal is always a little old, and routers that trust it alone all
//! send to the same worker until the next reading.

use std::collections::HashMap;
use std::hash::Hash;

use ampd_perfmodel::sane;

/// Own dispatches, by worker and task.
#[derive(Debug, Clone)]
pub struct InFlight<K> {
    tasks: HashMap<K, Task>,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    worker: u64,
    sent_s: f64,
    predicted_s: f64,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self { tasks: HashMap::new() }
    }
}

impl<K: Eq + Hash> InFlight<K> {
    /// Notes that `task`, predicted to keep the worker busy for `predicted_s` seconds, was sent to `worker` at `now_s`.
    pub fn sent(&mut self, task: K, worker: u64, predicted_s: f64, now_s: f64) {
        self.tasks.insert(task, Task { worker, sent_s: now_s, predicted_s: sane(predicted_s) });
    }

    /// Notes that `task` is over, however it ended.
    pub fn done(&mut self, task: &K) {
        self.tasks.remove(task);
    }

    /// The backlog of `worker` at `now_s`, seconds: what its signal of `signal_s` said, less the time since, plus what was
    /// sent after the signal was taken. Tasks sent before it are in the signal already.
    #[must_use]
    pub fn backlog_s(&self, worker: u64, signalled_s: f64, signal_s: f64, now_s: f64) -> f64 {
        let elapsed = sane(now_s - signal_s);
        let sent: f64 = self
            .tasks
            .values()
            .filter(|task| task.worker == worker && task.sent_s >= signal_s)
            .map(|task| task.predicted_s)
            .sum();
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
