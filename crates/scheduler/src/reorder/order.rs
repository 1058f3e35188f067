//! Which rule orders a queue.

use super::{QueuedTask, Reorder, next_by_slack, next_in_order};

/// The rule by which a worker serves its queue of prefills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// First come, first served.
    Arrival,
    /// AMPD's reordering of the queue's head, [`next_in_order`].
    Head {
        /// Tasks that are looked at.
        lookahead: usize,
        /// How often a task may be postponed.
        cap: u32,
    },
    /// By slack, [`next_by_slack`].
    Slack {
        /// How often a task may be postponed.
        cap: u32,
    },
}

impl Order {
    /// AMPD's published lookahead; its cap is not published.
    pub const PAPER: Self = Self::Head { lookahead: 3, cap: 3 };
    /// Ours. A prefill worker serves some ten to a hundred tasks a second: at 32 the unlucky wait some seconds.
    pub const SLACK: Self = Self::Slack { cap: 32 };

    /// Tasks at the head of a queue that the rule looks at.
    #[must_use]
    pub fn looks_at(self) -> usize {
        match self {
            Self::Arrival => 1,
            Self::Head { lookahead, .. } => lookahead.clamp(1, super::MAX_LOOKAHEAD),
            Self::Slack { .. } => super::slack::MAX_QUEUE,
        }
    }

    /// The task to be served next, and whom it overtakes.
    #[must_use]
    pub fn next(self, queue: &[QueuedTask], now_s: f64) -> Reorder {
        match self {
            Self::Arrival => next_in_order(queue, now_s, 1, 0),
            Self::Head { lookahead, cap } => next_in_order(queue, now_s, lookahead, cap),
            Self::Slack { cap } => next_by_slack(queue, now_s, cap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_orders_in_its_way() {
        let task = |predicted_s, deadline_s| QueuedTask { predicted_s, deadline_s, postponed: 0 };
        let queue = [task(5.0, 20.0), task(5.0, 19.0), task(5.0, 18.0), task(0.1, 0.2)];
        for (order, first) in [(Order::Arrival, 0), (Order::PAPER, 0), (Order::SLACK, 3)] {
            let chosen = order.next(&queue[..queue.len().min(order.looks_at())], 0.0);
            assert_eq!(chosen.order[0], first, "{order:?}");
        }
    }
}
