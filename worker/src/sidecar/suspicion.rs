//! For how long a prefill worker is left alone after prefills failed on it.

use crate::protocol::Fallback;

/// After the first failure, seconds; doubled by each further one.
const FIRST_S: f64 = 1.0;
/// At most, seconds.
const LONGEST_S: f64 = 30.0;

/// What failures say about one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Suspicion {
    failures: i32,
    since_s: f64,
    until_s: f64,
    /// The worker seemed dead: its own word that it lives settles it.
    dead: bool,
}

impl Suspicion {
    /// A prefill failed on the worker at `now_s`.
    pub(super) fn failed(&mut self, fallback: Fallback, now_s: f64) {
        let dead = match fallback {
            // These are about the decode worker or the round.
            Fallback::KvExhausted | Fallback::NothingRemote => return,
            Fallback::ConnectRefused | Fallback::Frozen | Fallback::Disconnected => true,
            Fallback::Rejected
            | Fallback::Deadline
            | Fallback::TransferFailed
            | Fallback::LeaseExpired
            | Fallback::WorkerFailed
            | Fallback::Other => false,
        };
        // Prefills that failed together count once.
        if now_s >= self.until_s {
            let wait_s = (FIRST_S * 2.0_f64.powi(self.failures.min(10))).min(LONGEST_S);
            (self.since_s, self.until_s) = (now_s, now_s + wait_s);
            self.failures += 1;
        }
        self.dead = dead;
    }

    /// A prefill went well on the worker.
    pub(super) fn cleared(&mut self) {
        *self = Self::default();
    }

    /// The worker said at `at_s` that it lives.
    pub(super) fn seen_alive(&mut self, at_s: f64) {
        if self.dead && at_s > self.since_s {
            self.until_s = self.until_s.min(at_s);
        }
    }

    /// Whether the worker is to be left alone at `now_s`.
    pub(super) fn holds(&self, now_s: f64) -> bool {
        now_s < self.until_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_each_failure_and_ends_with_a_success() {
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.holds(0.0));
        suspicion.failed(Fallback::Deadline, 10.0);
        suspicion.failed(Fallback::Deadline, 10.5);
        assert!(suspicion.holds(10.9) && !suspicion.holds(11.0));
        suspicion.failed(Fallback::Deadline, 11.0);
        assert!(suspicion.holds(12.9) && !suspicion.holds(13.0));
        for _ in 0..20 {
            suspicion.failed(Fallback::Rejected, 1000.0 * f64::from(suspicion.failures));
        }
        let last_s = suspicion.since_s;
        assert!(suspicion.holds(last_s + 29.0) && !suspicion.holds(last_s + 31.0));
        suspicion.cleared();
        assert!(!suspicion.holds(last_s));
    }

    #[test]
    fn a_sign_of_life_helps_only_who_seemed_dead() {
        for (fallback, helped) in [(Fallback::Frozen, true), (Fallback::TransferFailed, false)] {
            let mut suspicion = Suspicion::default();
            suspicion.failed(fallback, 10.0);
            suspicion.seen_alive(9.9);
            assert!(suspicion.holds(10.3));
            suspicion.seen_alive(10.2);
            assert_eq!(suspicion.holds(10.3), !helped);
        }
    }

    #[test]
    fn what_is_not_the_workers_fault_is_not_held_against_it() {
        let mut suspicion = Suspicion::default();
        for fallback in [Fallback::KvExhausted, Fallback::NothingRemote] {
            suspicion.failed(fallback, 10.0);
            assert!(!suspicion.holds(10.0));
        }
    }
}
