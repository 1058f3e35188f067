//! How long a dead child waits for its restart.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST: Duration = Duration::from_secs(10);
/// After a life of this length the first wait is enough.
const LONG_LIFE: Duration = Duration::from_secs(30);

/// Doubling waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    deaths: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, deaths: 0 }
    }
}

impl Backoff {
    /// The wait after a child that lived for `alive`.
    pub(crate) fn after(&mut self, alive: Duration) -> Duration {
        if alive >= LONG_LIFE {
            self.next = FIRST;
        }
        self.deaths = self.deaths.saturating_add(1);
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }

    /// Deaths so far. Long lives do not make up for them: a large model may be minutes in loading before its process fails.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_again_after_a_long_life_and_every_death_counts() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis() as u64).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.deaths(), 8);
        assert_eq!(backoff.after(LONG_LIFE), FIRST);
        assert_eq!(backoff.deaths(), 9);
    }
}
