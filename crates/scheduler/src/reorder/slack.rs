//! Serving a queue by slack: as many objectives met as can be, and nobody passed for ever.

use ampd_perfmodel::sane;

use super::{QueuedTask, Reorder};

/// Tasks of a queue that are looked at: what is further back waits for its turn among these.
pub const MAX_QUEUE: usize = 64;

/// The order in which most tasks meet their TTFT objectives when served one after the other from `now_s` on: earliest
/// deadline first, and whenever a task would be late, the longest so far goes behind all that can be on time (Moore and
/// Hodgson, "An n job, one machine sequencing algorithm for minimizing the number of late jobs", 1968). Those that go
/// behind keep the order of their deadlines.
///
/// Only the first [`MAX_QUEUE`] tasks are looked at, in order of arrival. A task that was postponed `cap` times is
/// served before all others, the longest waiting first, so that none is ever passed by more than `cap` tasks that came
/// after it.
#[must_use]
pub fn next_by_slack(queue: &[QueuedTask], now_s: f64, cap: u32) -> Reorder {
    let head = &queue[..queue.len().min(MAX_QUEUE)];
    let order = match head.iter().position(|task| task.postponed >= cap) {
        // Only the first of the order is served before the next is chosen.
        Some(tired) => std::iter::once(tired).chain((0..head.len()).filter(|n| *n != tired)).collect(),
        None => moore_hodgson(head, now_s),
    };
    let first = order.first().copied().unwrap_or_default();
    Reorder { postponed: (0..first).collect(), order }
}

fn moore_hodgson(queue: &[QueuedTask], now_s: f64) -> Vec<usize> {
    let mut by_deadline: Vec<usize> = (0..queue.len()).collect();
    by_deadline.sort_by(|&a, &b| queue[a].deadline_s.total_cmp(&queue[b].deadline_s));
    let mut on_time: Vec<usize> = Vec::with_capacity(queue.len());
    let (mut finish, mut late) = (now_s, vec![false; queue.len()]);
    for &index in &by_deadline {
        on_time.push(index);
        finish += sane(queue[index].predicted_s);
        if finish > queue[index].deadline_s {
            let longest = on_time
                .iter()
                .enumerate()
                .max_by(|a, b| queue[*a.1].predicted_s.total_cmp(&queue[*b.1].predicted_s))
                .map(|(place, _)| place);
            if let Some(place) = longest {
                let removed = on_time.remove(place);
                finish -= sane(queue[removed].predicted_s);
                late[removed] = true;
            }
        }
    }
    on_time.extend(by_deadline.into_iter().filter(|&index| late[index]));
    on_time
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(predicted_s: f64, deadline_s: f64) -> QueuedTask {
        QueuedTask { predicted_s, deadline_s, postponed: 0 }
    }

    fn met(queue: &[QueuedTask], order: &[usize]) -> usize {
        let mut finish = 0.0;
        order
            .iter()
            .filter(|&&index| {
                finish += queue[index].predicted_s;
                finish <= queue[index].deadline_s
            })
            .count()
    }

    #[test]
    fn the_longest_gives_way() {
        let chosen = next_by_slack(&[task(5.0, 5.5), task(1.0, 6.0), task(1.0, 6.1), task(1.0, 6.2)], 0.0, 9);
        assert_eq!(chosen, Reorder { order: vec![1, 2, 3, 0], postponed: vec![0] });
    }

    #[test]
    fn a_task_postponed_to_the_cap_goes_first() {
        let tired = QueuedTask { postponed: 2, ..task(9.0, 1.0) };
        let chosen = next_by_slack(&[task(1.0, 2.0), tired, task(1.0, 2.0)], 0.0, 2);
        assert_eq!(chosen.order[0], 1);
        assert_eq!(next_by_slack(&[], 0.0, 2), Reorder { order: vec![], postponed: vec![] });
    }

    proptest! {
        /// Serves an endless stream and counts, for each task, those that came after it and were served before it.
        #[test]
        fn no_task_is_passed_more_often_than_the_cap(
            cap in 0u32..12,
            stream in prop::collection::vec((0.01..5.0f64, 0.0..6.0f64), 60..200),
        ) {
            let mut queue: Vec<(usize, QueuedTask)> = Vec::new();
            let (mut now, mut coming, mut passed) = (0.0, stream.iter().enumerate(), vec![0; stream.len()]);
            loop {
                while queue.len() < 8 && let Some((number, &(predicted, slack))) = coming.next() {
                    queue.push((number, task(predicted, now + slack)));
                }
                if queue.is_empty() {
                    break;
                }
                let tasks: Vec<QueuedTask> = queue.iter().map(|(_, task)| *task).collect();
                let chosen = next_by_slack(&tasks, now, cap);
                for index in chosen.postponed {
                    queue[index].1.postponed += 1;
                }
                let (number, served) = queue.remove(chosen.order[0]);
                now += served.predicted_s;
                for (other, _) in &queue {
                    passed[*other] += u32::from(*other < number);
                }
            }
            prop_assert!(passed.iter().all(|times| *times <= cap), "{passed:?}");
        }

        /// Against all orders of a short queue.
        #[test]
        fn no_order_meets_more_objectives(tasks in prop::collection::vec((0.1..5.0f64, 0.0..12.0f64), 1..7)) {
            let queue: Vec<QueuedTask> = tasks.iter().map(|(p, d)| task(*p, *d)).collect();
            let chosen = next_by_slack(&queue, 0.0, 99);
            let best = best_of_all(&queue, &mut Vec::new());
            prop_assert_eq!(met(&queue, &chosen.order), best);
        }

        #[test]
        fn any_queue_gets_a_permutation(
            queue in prop::collection::vec((any::<f64>(), any::<f64>(), 0u32..5), 0..80), now: f64, cap in 0u32..6,
        ) {
            let queue: Vec<QueuedTask> = queue
                .into_iter()
                .map(|(predicted_s, deadline_s, postponed)| QueuedTask { predicted_s, deadline_s, postponed })
                .collect();
            let mut order = next_by_slack(&queue, now, cap).order;
            order.sort_unstable();
            prop_assert_eq!(order, (0..queue.len().min(MAX_QUEUE)).collect::<Vec<_>>());
        }
    }

    fn best_of_all(queue: &[QueuedTask], order: &mut Vec<usize>) -> usize {
        if order.len() == queue.len() {
            return met(queue, order);
        }
        let mut best = 0;
        for next in 0..queue.len() {
            if !order.contains(&next) {
                order.push(next);
                best = best.max(best_of_all(queue, order));
                order.pop();
            }
        }
        best
    }
}
