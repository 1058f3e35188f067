//! What happens next.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Names an active round; a round that starts over gets a new serial, and what was under way for the old one is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundRef {
    /// Its place among the active rounds.
    pub slot: u32,
    /// Never the same twice.
    pub serial: u64,
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A session's next round arrives.
    Arrive { session: u32 },
    /// A round has passed the API and is to be routed.
    Open(RoundRef),
    /// A decode worker's step ends.
    DecodeStep { worker: u32, epoch: u32 },
    /// A prefill worker's step ends.
    PrefillStep { worker: u32, epoch: u32 },
    /// A transfer may have ended.
    Links { version: u64 },
    /// A prefill worker has a round's history.
    Pulled { worker: u32, round: RoundRef },
    /// A part of a round's new KV has come back.
    Returned(RoundRef),
    /// All of a round's new KV is on its decode worker.
    Delivered(RoundRef),
    /// The KV of a round's session has come to the worker on which it is to be opened.
    Moved { round: RoundRef, to: u32 },
    /// A sidecar reads the signals.
    Poll { sidecar: u32 },
    /// A fault begins or ends.
    Fault { index: u32, begins: bool },
}

#[derive(Debug)]
struct Timed {
    at_s: f64,
    number: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    /// The earliest is the greatest; of two at once, the one that was scheduled first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at_s.total_cmp(&self.at_s).then(other.number.cmp(&self.number))
    }
}

/// Events to come, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Timed>,
    number: u64,
}

impl Events {
    pub(super) fn at(&mut self, at_s: f64, event: Event) {
        self.number += 1;
        self.heap.push(Timed { at_s, number: self.number, event });
    }

    /// When the next one is.
    pub(super) fn next_s(&self) -> Option<f64> {
        self.heap.peek().map(|timed| timed.at_s)
    }

    pub(super) fn pop(&mut self) -> Option<(f64, Event)> {
        self.heap.pop().map(|timed| (timed.at_s, timed.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_scheduled() {
        let mut events = Events::default();
        for (at_s, session) in [(2.0, 1), (1.0, 2), (2.0, 3), (0.5, 4)] {
            events.at(at_s, Event::Arrive { session });
        }
        let order: Vec<_> = std::iter::from_fn(|| events.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, [4, 2, 1, 3].map(|session| Event::Arrive { session }));
    }
}
