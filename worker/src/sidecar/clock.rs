//! Seconds since this process began: what policies call `now_s`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock in seconds. Copies agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Seconds since the clock was made.
    pub(super) fn now_s(self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Seconds since 1970 by the wall clock.
pub(super) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
