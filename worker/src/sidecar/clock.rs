//! Seconds since this process began: what policies call `now_s`.

use std::time::Instant;

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
