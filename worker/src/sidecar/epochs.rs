//! Epochs of bindings: each is higher than all before it, also across restarts of whoever issues them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bits under the milliseconds: epochs that one issuer can give out in a millisecond before it runs ahead of the clock. In
/// total they stay under 2^53, so that every JSON reader keeps them exact.
const SUB_BITS: u32 = 10;

/// Issues epochs.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    last: AtomicU64,
}

impl Epochs {
    /// An epoch above `after` and above all that were issued here, taken from the wall clock: an issuer that has forgotten
    /// everything still goes on above its former self.
    pub(super) fn next(&self, after: u64) -> u64 {
        self.next_at(unix_ms(), after)
    }

    fn next_at(&self, unix_ms: u64, after: u64) -> u64 {
        let floor = (unix_ms << SUB_BITS).max(after.saturating_add(1));
        let issue = |last: u64| floor.max(last.saturating_add(1));
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = issue(last);
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(current) => last = current,
            }
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_rise_whatever_the_clock_does() {
        let epochs = Epochs::default();
        let first = epochs.next_at(1000, 0);
        assert_eq!(first, 1000 << SUB_BITS);
        assert_eq!(epochs.next_at(1000, 0), first + 1);
        assert_eq!(epochs.next_at(900, 0), first + 2);
        assert_eq!(epochs.next_at(1000, first + 50), first + 51);
        assert!(Epochs::default().next_at(1001, 0) > first + 51);
    }

    #[test]
    fn epochs_of_centuries_to_come_are_exact_in_json() {
        let year_2200_ms = 7_258_118_400_000_u64;
        assert!(year_2200_ms << SUB_BITS < 1 << 53);
    }
}
