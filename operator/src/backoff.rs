//! How soon a service that could not be brought to its manifest is tried again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most.
const LONGEST: Duration = Duration::from_mins(2);
/// Doublings until that.
const STEPS: u32 = 7;

/// Failures in a row of each service.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<(String, String), u32>>);

impl Backoff {
    /// The service of this namespace and name failed once more: how long to wait.
    pub(crate) fn failed(&self, namespace: &str, name: &str) -> Duration {
        let mut failures = self.0.lock();
        let count = failures.entry((namespace.into(), name.into())).or_default();
        let wait = waits(*count);
        *count = (*count + 1).min(STEPS);
        // Services that failed together are not tried again together.
        wait.mul_f64(rand::rng().random_range(0.75..1.25))
    }

    /// It did not fail, or is gone.
    pub(crate) fn passed(&self, namespace: &str, name: &str) {
        self.0.lock().remove(&(namespace.into(), name.into()));
    }
}

fn waits(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(STEPS)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_anew() {
        let backoff = Backoff::default();
        let first = backoff.failed("a", "b");
        assert!(first < Duration::from_secs(2), "{first:?}");
        for _ in 0..20 {
            assert!(backoff.failed("a", "b") <= LONGEST.mul_f64(1.25));
        }
        assert!(backoff.failed("a", "b") > Duration::from_mins(1));
        backoff.passed("a", "b");
        assert!(backoff.failed("a", "b") < Duration::from_secs(2));
        assert!(backoff.failed("a", "c") < Duration::from_secs(2));
    }
}
