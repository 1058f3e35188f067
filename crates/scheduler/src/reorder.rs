//! Prefill reordering: the order in which a prefill worker serves the head of its queue.

mod order;
mod slack;

use ampd_perfmodel::sane;

pub use order::Order;
pub use slack::{MAX_QUEUE, next_by_slack};

/// A task in a prefill worker's queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueuedTask {
    /// Predicted seconds of its prefill.
    pub predicted_s: f64,
    /// When its TTFT objective falls due, seconds on the caller's clock; may have passed.
    pub deadline_s: f64,
    /// How often others were served before it although they came later.
    pub postponed: u32,
}

/// The chosen order of a queue's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorder {
    /// Indices of the first tasks, in the order to serve them.
    pub order: Vec<usize>,
    /// Indices of the tasks that the first one in `order` overtakes: their postponement counts rise when it is served.
    pub postponed: Vec<usize>,
}

/// The largest head that is looked at, tasks: all its orders are tried, 120 at five.
pub const MAX_LOOKAHEAD: usize = 5;

/// Looks at the first `lookahead` tasks (AMPD's `w`, 3), tries all their orders and returns the one that meets the most
/// TTFT objectives when served one after the other from `now_s` on; among those the one with the least total lateness,
/// then the one nearest to arrival order (AMPD, arXiv 2602.14516; the two ties are our own, so that the result is
/// defined). No order lets a task that was postponed `cap` times be overtaken again, so that none starves.
#[must_use]
pub fn next_in_order(queue: &[QueuedTask], now_s: f64, lookahead: usize, cap: u32) -> Reorder {
    let head = queue.len().min(lookahead.clamp(1, MAX_LOOKAHEAD));
    let mut search = Search { queue: &queue[..head], now_s, cap, best: None };
    search.extend(&mut Vec::with_capacity(head));
    let order = search.best.map_or_else(|| (0..head).collect(), |(_, _, order)| order);
    let first = order.first().copied().unwrap_or_default();
    Reorder { postponed: (0..first).collect(), order }
}

struct Search<'a> {
    queue: &'a [QueuedTask],
    now_s: f64,
    cap: u32,
    /// Objectives met, total lateness, order.
    best: Option<(usize, f64, Vec<usize>)>,
}

impl Search<'_> {
    /// Tries every order that starts with `order`, in lexicographic order, so that arrival order wins ties.
    fn extend(&mut self, order: &mut Vec<usize>) {
        if order.len() == self.queue.len() {
            let (met, lateness) = self.outcome(order);
            let better = self.best.as_ref().is_none_or(|(best_met, best_lateness, _)| {
                met > *best_met || (met == *best_met && lateness < best_lateness - 1e-9)
            });
            if better {
                self.best = Some((met, lateness, order.clone()));
            }
            return;
        }
        for next in 0..self.queue.len() {
            let waiting_before = (0..next).filter(|index| !order.contains(index));
            let capped = waiting_before.into_iter().any(|index| self.queue[index].postponed >= self.cap);
            if !order.contains(&next) && !capped {
                order.push(next);
                self.extend(order);
                order.pop();
            }
        }
    }

    fn outcome(&self, order: &[usize]) -> (usize, f64) {
        let (mut finish, mut met, mut lateness) = (self.now_s, 0, 0.0);
        for &index in order {
            let task = &self.queue[index];
            finish += sane(task.predicted_s);
            if finish <= task.deadline_s {
                met += 1;
            } else {
                lateness += sane(finish - task.deadline_s);
            }
        }
        (met, lateness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(predicted_s: f64, deadline_s: f64) -> QueuedTask {
        QueuedTask { predicted_s, deadline_s, postponed: 0 }
    }

    #[test]
    fn a_short_urgent_task_overtakes_a_long_one() {
        let chosen = next_in_order(&[task(5.0, 20.0), task(1.0, 2.0)], 0.0, 3, 3);
        assert_eq!(chosen, Reorder { order: vec![1, 0], postponed: vec![0] });
    }

    #[test]
    fn arrival_order_stays_without_gain() {
        let chosen = next_in_order(&[task(1.0, 9.0), task(1.0, 9.0), task(1.0, 9.0)], 0.0, 3, 3);
        assert_eq!(chosen, Reorder { order: vec![0, 1, 2], postponed: vec![] });
    }

    #[test]
    fn only_the_head_is_looked_at() {
        let queue = [task(5.0, 9.0), task(5.0, 20.0), task(5.0, 30.0), task(0.1, 0.2)];
        assert_eq!(next_in_order(&queue, 0.0, 3, 3).order, vec![0, 1, 2]);
    }

    #[test]
    fn a_task_postponed_to_the_cap_goes_first() {
        let tired = QueuedTask { postponed: 3, ..task(5.0, 20.0) };
        assert_eq!(next_in_order(&[tired, task(1.0, 2.0)], 0.0, 3, 3).order, vec![0, 1]);
    }

    #[test]
    fn an_empty_queue_has_no_order() {
        assert_eq!(next_in_order(&[], 0.0, 3, 3), Reorder { order: vec![], postponed: vec![] });
    }

    /// Serves a long random stream in which urgent short tasks never end, and asks that nobody waits for ever.
    #[test]
    fn nobody_starves() {
        let mut queue: Vec<(u64, QueuedTask)> = Vec::new();
        let (mut now, mut seed, mut worst) = (0.0, 1_u64, 0);
        for served in 0..20_000_u64 {
            while queue.len() < 4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let long = (seed >> 60) == 0;
                let predicted = if long { 5.0 } else { 0.1 };
                queue.push((served, task(predicted, now + if long { 1.0 } else { 0.5 })));
            }
            let head: Vec<QueuedTask> = queue.iter().map(|(_, task)| *task).collect();
            let chosen = next_in_order(&head, now, 3, 3);
            for index in chosen.postponed {
                queue[index].1.postponed += 1;
                assert!(queue[index].1.postponed <= 3);
            }
            let (arrived, task) = queue.remove(chosen.order[0]);
            now += task.predicted_s;
            worst = worst.max(served - arrived);
        }
        assert!(worst <= 16, "a task waited for {worst} others");
    }

    fn tasks() -> impl Strategy<Value = Vec<QueuedTask>> {
        let task = (any::<f64>(), any::<f64>(), 0u32..5);
        let task = task.prop_map(|(predicted_s, deadline_s, postponed)| QueuedTask {
            predicted_s,
            deadline_s,
            postponed,
        });
        prop::collection::vec(task, 0..8)
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation_of_the_head(queue in tasks(), now in any::<f64>(), w in 0usize..9) {
            let chosen = next_in_order(&queue, now, w, 3);
            let mut sorted = chosen.order.clone();
            sorted.sort_unstable();
            let head = queue.len().min(w.clamp(1, MAX_LOOKAHEAD));
            prop_assert_eq!(sorted, (0..head).collect::<Vec<_>>());
        }

        #[test]
        fn it_never_meets_fewer_objectives_than_arrival_order(
            sizes in prop::collection::vec((0.1..5.0f64, 0.0..10.0f64), 1..4),
        ) {
            let queue: Vec<QueuedTask> = sizes.iter().map(|(p, d)| task(*p, *d)).collect();
            let search = Search { queue: &queue, now_s: 0.0, cap: 3, best: None };
            let arrival: Vec<usize> = (0..queue.len()).collect();
            let chosen = next_in_order(&queue, 0.0, 3, 3).order;
            prop_assert!(search.outcome(&chosen).0 >= search.outcome(&arrival).0);
        }
    }
}
