//! What this router has sent out itself: a worker's signal is always a little old, and routers that trust it alone all
//! send to the same worker until the next reading.

use std::collections::{BTreeMap, VecDeque};

use ampd_perfmodel::sane;

/// Tasks are forgotten after so many seconds, as long as the oldest signal that is held: `SignalAges::held_s`.
const KEPT_S: f64 = 10.0;

/// Own dispatches, by worker and task. Sums are taken in the order of the dispatches, so that equal histories give
/// equal bits.
#[derive(Debug, Clone)]
pub struct InFlight<K> {
    /// By the time at which they were sent.
    workers: BTreeMap<u64, VecDeque<Task<K>>>,
    /// The workers of those that are not over: they are few, and are asked for by key.
    under_way: Vec<(K, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Task<K> {
    key: K,
    sent_s: f64,
    predicted_s: f64,
    over: bool,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self { workers: BTreeMap::new(), under_way: Vec::new() }
    }
}

impl<K: PartialEq + Clone> InFlight<K> {
    /// Notes that `task`, predicted to keep the worker busy for `predicted_s` seconds, was sent to `worker` at `now_s`.
    pub fn sent(&mut self, task: K, worker: u64, predicted_s: f64, now_s: f64) {
        self.done(&task);
        self.workers.retain(|_, tasks| {
            forget(tasks, now_s - KEPT_S);
            !tasks.is_empty()
        });
        self.under_way.push((task.clone(), worker));
        let tasks = self.workers.entry(worker).or_default();
        // Callers on several threads may come a little out of order.
        let sent_s = tasks.back().map_or(now_s, |last| now_s.max(last.sent_s));
        tasks.push_back(Task { key: task, sent_s, predicted_s: sane(predicted_s), over: false });
    }

    /// Notes that `task` is over, however it ended. It still counts against signals from before it was sent: the time that
    /// it has taken is part of the time since.
    pub fn done(&mut self, task: &K) {
        let Some(place) = self.under_way.iter().position(|(key, _)| key == task) else { return };
        let (_, worker) = self.under_way.swap_remove(place);
        let tasks = self.workers.get_mut(&worker).into_iter().flatten();
        if let Some(own) = tasks.rev().find(|own| !own.over && own.key == *task) {
            own.over = true;
        }
    }

    /// Seconds of work that each of `workers` workers is expected to get a second from the other routers, of `routers` in
    /// all: sessions are spread evenly over routers, so that others send as much as this one has sent of late.
    #[must_use]
    pub fn others(&self, routers: usize, workers: usize, now_s: f64) -> f64 {
        let recent = self.workers.values().flat_map(|tasks| since(tasks, now_s - KEPT_S));
        let own = recent.map(|task| task.predicted_s).sum::<f64>() / KEPT_S;
        own * routers.saturating_sub(1) as f64 / workers.max(1) as f64
    }

    /// The backlog of `worker` at `now_s`, seconds: what its signal of `signal_s` said and what was sent after it was taken,
    /// each worked off from when it came, while others send it `others` seconds of work a second ([`Self::others`]). Tasks
    /// sent before the signal are in it already.
    #[must_use]
    pub fn backlog_s(&self, worker: u64, signal: (f64, f64), others: f64, now_s: f64) -> f64 {
        let (signalled_s, signal_s) = signal;
        let speed = sane(1.0 - sane(others));
        let (mut backlog_s, mut at_s) = (sane(signalled_s), signal_s);
        for task in self.workers.get(&worker).into_iter().flat_map(|tasks| since(tasks, signal_s)) {
            backlog_s = sane(backlog_s - speed * sane(task.sent_s - at_s)) + task.predicted_s;
            at_s = task.sent_s;
        }
        sane(backlog_s - speed * sane(now_s - at_s))
    }
}

/// The tasks that were sent at `from_s` or later; none when that is not a number.
fn since<K>(tasks: &VecDeque<Task<K>>, from_s: f64) -> impl Iterator<Item = &Task<K>> {
    let first =
        if from_s.is_nan() { tasks.len() } else { tasks.partition_point(|task| task.sent_s < from_s) };
    tasks.range(first..)
}

/// Drops what was sent before `from_s` and is over. Mostly that is the oldest.
fn forget<K>(tasks: &mut VecDeque<Task<K>>, from_s: f64) {
    while tasks.front().is_some_and(|task| task.over && task.sent_s < from_s) {
        tasks.pop_front();
    }
    if tasks.iter().take_while(|task| task.sent_s < from_s).any(|task| task.over) {
        tasks.retain(|task| !task.over || task.sent_s >= from_s);
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
        assert!((inflight.backlog_s(1, (4.0, 1.0), 0.0, 1.5) - 5.5).abs() < 1e-12);
        // What is over has taken its share of the time since.
        inflight.done(&"after");
        assert!((inflight.backlog_s(1, (4.0, 1.0), 0.0, 1.5) - 5.5).abs() < 1e-12);
        assert!((inflight.backlog_s(1, (4.0, 1.2), 0.0, 1.5) - 3.7).abs() < 1e-12);
    }

    #[test]
    fn what_an_idle_worker_did_not_do_is_not_worked_off() {
        let mut inflight = InFlight::default();
        inflight.sent("late", 1, 2.0, 9.0);
        assert!((inflight.backlog_s(1, (1.0, 0.0), 0.0, 9.5) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_over_is_forgotten_once_no_signal_is_that_old() {
        let mut inflight = InFlight::default();
        for n in 0..1000 {
            inflight.sent(n, 1, 0.1, f64::from(n));
            inflight.done(&n);
        }
        assert!(inflight.workers[&1].len() <= 12, "{}", inflight.workers[&1].len());
    }

    #[test]
    fn a_backlog_is_never_negative_nor_nonsense() {
        let mut inflight = InFlight::default();
        inflight.sent(1, 1, f64::NAN, 0.0);
        assert_eq!(inflight.backlog_s(1, (1.0, 0.0), 0.0, 100.0), 0.0);
        assert_eq!(inflight.backlog_s(1, (f64::INFINITY, f64::NAN), 0.0, 0.0), 0.0);
    }

    #[test]
    fn what_others_send_is_expected_to_be_as_much() {
        let mut inflight = InFlight::default();
        for n in 0..20 {
            inflight.sent(n, n % 2, 0.25, f64::from(u32::try_from(n).unwrap()) * 0.5);
        }
        // 5 s of work in 10 s, from each of three others, over four workers.
        let others = inflight.others(4, 4, 10.0);
        assert!((others - 0.375).abs() < 1e-9, "{others}");
        assert_eq!(inflight.others(1, 4, 10.0), 0.0);
        assert_eq!(inflight.others(4, 4, 50.0), 0.0);
        // A worker that gets more than it can do has no less to do after a while.
        assert_eq!(inflight.backlog_s(9, (2.0, 0.0), 1.5, 5.0), 2.0);
        assert_eq!(inflight.backlog_s(9, (2.0, 0.0), 0.5, 2.0), 1.0);
    }
}
