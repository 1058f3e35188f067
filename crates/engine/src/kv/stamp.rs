//! When something was used last, as a total order.

use std::time::{Duration, Instant};

/// A moment of use. No two are equal, so stamps are keys of the queues that say what to give up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    at: Option<Instant>,
    order: u64,
}

impl Stamp {
    /// Whether the moment lies more than `ttl` before `now`.
    #[must_use]
    pub fn is_older(&self, now: Instant, ttl: Duration) -> bool {
        self.at.is_none_or(|at| now.saturating_duration_since(at) > ttl)
    }

    /// Whether the moment lies before this one.
    #[must_use]
    pub fn is_before(&self, moment: Instant) -> bool {
        self.at.is_none_or(|at| at < moment)
    }

    /// How long ago the moment was.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        self.at.map_or(Duration::MAX, |at| now.saturating_duration_since(at))
    }
}

/// Gives stamps. Its time is what the caller last said and never goes back.
#[derive(Debug, Default)]
pub struct Clock {
    now: Option<Instant>,
    order: u64,
}

impl Clock {
    /// Moves the time forward.
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(Some(now));
    }

    /// A stamp later than all before it.
    pub fn stamp(&mut self) -> Stamp {
        self.order += 1;
        Stamp { at: self.now, order: self.order }
    }
}
