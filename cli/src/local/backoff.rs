//! How long a dead child waits for its restart.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST: Duration = Duration::from_secs(10);
/// A child that lived so long starts afresh.
const HEALTHY: Duration = Duration::from_secs(30);

/// Doubling waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, failures: 0 }
    }
}

impl Backoff {
    /// The wait after a child that lived for `alive`.
    pub(crate) fn after(&mut self, alive: Duration) -> Duration {
        if alive >= HEALTHY {
            *self = Self::default();
        }
        self.failures += 1;
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }

    /// Deaths in a row without a healthy life between them.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_again_after_a_healthy_life() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis() as u64).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.failures(), 8);
        assert_eq!(backoff.after(HEALTHY), FIRST);
        assert_eq!(backoff.failures(), 1);
    }
}
