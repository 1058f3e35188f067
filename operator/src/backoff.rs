//! How soon a service that could not be brought to its manifest is tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt as _;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most.
const LONGEST: Duration = Duration::from_mins(2);
/// Doublings until that.
const STEPS: u32 = 7;
/// A service that was not tried again for so long is gone: nothing tells when one is deleted.
const FORGOTTEN: Duration = LONGEST.saturating_mul(2);

/// Failures in a row of each service, by its uid: another one of the same name begins anew.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Backoff {
    /// The service of this uid failed once more: how long to wait.
    pub(crate) fn failed(&self, uid: &str, now: Instant) -> Duration {
        let mut services = self.0.lock();
        services.retain(|_, failures| now.duration_since(failures.last) < FORGOTTEN);
        let failures = services.entry(uid.into()).or_insert(Failures { count: 0, last: now });
        let wait = waits(failures.count);
        *failures = Failures { count: (failures.count + 1).min(STEPS), last: now };
        // Services that failed together are not tried again together.
        wait.mul_f64(rand::rng().random_range(0.75..1.25))
    }

    /// It did not fail.
    pub(crate) fn passed(&self, uid: &str) {
        self.0.lock().remove(uid);
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
        let now = Instant::now();
        let first = backoff.failed("a", now);
        assert!(first < Duration::from_secs(2), "{first:?}");
        for _ in 0..20 {
            assert!(backoff.failed("a", now) <= LONGEST.mul_f64(1.25));
        }
        assert!(backoff.failed("a", now) > Duration::from_mins(1));
        backoff.passed("a");
        assert!(backoff.failed("a", now) < Duration::from_secs(2));
        assert!(backoff.failed("b", now) < Duration::from_secs(2));
        backoff.failed("c", now + FORGOTTEN);
        assert_eq!(backoff.0.lock().len(), 1, "the others are gone");
    }
}
