//! Local prefills that this sidecar has sent to its worker and that are not over. The worker's load, as old as the opening
//! of a round, does not know the last of them: rounds that are routed at the same time would all stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ampd_scheduler::LocalPrefill;
use parking_lot::Mutex;

use crate::protocol::WaitingPrefill;

/// The local prefills under way, by the worker's name of their round. The worker bounds how many rounds there are.
#[derive(Debug, Default)]
pub(super) struct Pending {
    rounds: Mutex<BTreeMap<u64, Sent>>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    history: u32,
    increment: u32,
    /// When its round arrived at the service.
    arrived: Instant,
}

/// One local prefill under way; over when dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    pending: Arc<Pending>,
    round: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.pending.rounds.lock().remove(&self.round);
    }
}

impl Pending {
    /// Notes that a prefill of `increment` tokens stays with the worker; counts until the returned value is dropped.
    pub(super) fn sent(
        self: &Arc<Self>,
        round: u64,
        (history, increment): (usize, usize),
        arrived: Instant,
    ) -> UnderWay {
        let narrow = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let sent = Sent { history: narrow(history), increment: narrow(increment), arrived };
        self.rounds.lock().insert(round, sent);
        UnderWay { pending: self.clone(), round }
    }

    /// Those that the worker has not told.
    pub(super) fn beyond(&self, told: &[WaitingPrefill]) -> Vec<LocalPrefill> {
        let rounds = self.rounds.lock();
        let untold = rounds.iter().filter(|(round, _)| told.iter().all(|prefill| prefill.round != **round));
        let as_seen = |sent: &Sent| LocalPrefill {
            history: sent.history,
            remaining: sent.increment,
            age_s: sent.arrived.elapsed().as_secs_f64(),
        };
        untold.map(|(_, sent)| as_seen(sent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_has_not_told_counts_until_it_is_over() {
        let pending = Arc::new(Pending::default());
        let first = pending.sent(1, (10, 40), Instant::now());
        let _second = pending.sent(2, (0, 7), Instant::now());
        let told = WaitingPrefill { round: 2, history: 3, increment: 4, age_s: 0.0 };
        let untold = pending.beyond(&[told]);
        assert_eq!((untold.len(), untold[0].history, untold[0].remaining), (1, 10, 40));
        assert_eq!(pending.beyond(&[]).len(), 2);
        drop(first);
        assert!(pending.beyond(&[told]).is_empty());
    }
}
