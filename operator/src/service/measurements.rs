//! What sidecars said of their rounds, kept for a while: a status that changes has its service looked at again, and with
//! new counts each time that would never end. And pods that are gone have had rounds too.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ampd_api::resolved::Slo;
use parking_lot::Mutex;

use super::slo::{Measured, Rounds};

/// How long a sum is good.
const FRESH: Duration = Duration::from_secs(50);
/// A service that was not looked at for so long is gone: nothing tells when one is deleted.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// By the service's uid.
#[derive(Debug, Default)]
pub struct Measurements(Mutex<HashMap<String, Service>>);

#[derive(Debug)]
struct Service {
    /// When anything of it was last asked for.
    seen: Instant,
    /// The last sum, and when it was made.
    sum: Option<(Instant, Measured)>,
    /// The objectives that the rounds below had.
    slo: Slo,
    /// What each pod said last.
    pods: BTreeMap<String, Said>,
}

impl Service {
    fn is_of(&self, slo: &Slo) -> bool {
        (self.slo.ttft, self.slo.itl) == (slo.ttft, slo.itl)
    }
}

#[derive(Debug, Clone, Copy)]
struct Said {
    at: Instant,
    window: Duration,
    rounds: Rounds,
}

impl Said {
    /// The rounds that are still in the window, if they came evenly.
    fn left(&self, now: Instant) -> Rounds {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.rounds.share(1.0 - age / self.window.as_secs_f64().max(1.0))
    }

    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < self.window
    }
}

impl Measurements {
    /// The last sum of rounds with these objectives, while it is good.
    pub(crate) fn fresh(&self, uid: &str, slo: &Slo, now: Instant) -> Option<Measured> {
        let services = self.0.lock();
        let (at, measured) = services.get(uid).filter(|service| service.is_of(slo))?.sum?;
        (now.saturating_duration_since(at) < FRESH).then_some(measured)
    }

    /// Takes in what pods said just now of rounds with these objectives. What was said of others counts no more.
    pub(crate) fn heard(&self, uid: &str, slo: &Slo, told: &BTreeMap<String, (Rounds, u64)>, now: Instant) {
        let mut services = self.0.lock();
        services.retain(|_, service| now.saturating_duration_since(service.seen) < FORGOTTEN);
        let fresh = || Service { seen: now, sum: None, slo: *slo, pods: BTreeMap::new() };
        let service = services.entry(uid.into()).or_insert_with(fresh);
        service.seen = now;
        if !service.is_of(slo) {
            *service = fresh();
        }
        service.pods.retain(|_, said| said.counts(now));
        for (pod, &(rounds, window_s)) in told {
            let said = Said { at: now, window: Duration::from_secs(window_s), rounds };
            service.pods.insert(pod.clone(), said);
        }
    }

    /// The rounds of all pods, also of those that are gone: what these said last fades with its age. `asked` are the ready
    /// pods and those of them that told of rounds just now.
    pub(crate) fn sum(&self, uid: &str, (asked, answered): (usize, usize), now: Instant) -> Measured {
        let mut measured = Measured { asked, answered, ..Measured::default() };
        if let Some(service) = self.0.lock().get_mut(uid) {
            for said in service.pods.values().filter(|said| said.counts(now)) {
                measured.add(&said.left(now), said.window.as_secs());
            }
            service.sum = Some((now, measured));
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLO: Slo = Slo { ttft: Duration::from_secs(2), itl: Duration::from_millis(150), target: 0.9 };

    fn told(pods: &[(&str, u64)]) -> BTreeMap<String, (Rounds, u64)> {
        let rounds = |rounds| (Rounds { rounds, attained: rounds / 2, ..Rounds::default() }, 300);
        pods.iter().map(|&(pod, count)| (pod.to_owned(), rounds(count))).collect()
    }

    #[test]
    fn a_sum_is_good_for_a_while_and_a_service_is_forgotten_later() {
        let (measurements, start) = (Measurements::default(), Instant::now());
        measurements.heard("a", &SLO, &told(&[("p", 4)]), start);
        assert_eq!(measurements.fresh("a", &SLO, start), None);
        let sum = measurements.sum("a", (1, 1), start);
        assert_eq!((sum.rounds.rounds, sum.rounds.attained, sum.window_s), (4, 2, 300));
        let fresh = |uid, slo: &Slo, after| measurements.fresh(uid, slo, start + after);
        assert_eq!(fresh("a", &SLO, Duration::from_secs(49)), Some(sum));
        assert_eq!(fresh("a", &SLO, FRESH), None);
        assert_eq!(fresh("a", &Slo { ttft: Duration::from_secs(1), ..SLO }, Duration::ZERO), None);
        assert_eq!(fresh("b", &SLO, Duration::ZERO), None);
        measurements.heard("b", &SLO, &told(&[]), start + FORGOTTEN);
        assert_eq!(measurements.0.lock().len(), 1);
    }

    #[test]
    fn what_a_pod_said_that_is_gone_counts_on_and_fades() {
        let (measurements, start) = (Measurements::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let rounds = |seconds| {
            let sum = measurements.sum("a", (1, 1), at(seconds)).rounds;
            (sum.rounds, sum.attained)
        };
        measurements.heard("a", &SLO, &told(&[("old", 100), ("new", 10)]), start);
        assert_eq!(rounds(0), (110, 55));
        measurements.heard("a", &SLO, &told(&[("new", 20)]), at(150));
        assert_eq!(rounds(150), (70, 35));
        measurements.heard("a", &SLO, &told(&[("new", 20)]), at(300));
        assert_eq!(rounds(300), (20, 10));
        assert_eq!(measurements.0.lock()["a"].pods.len(), 1);
    }

    #[test]
    fn rounds_that_had_other_objectives_count_no_more() {
        let (measurements, start) = (Measurements::default(), Instant::now());
        measurements.heard("a", &SLO, &told(&[("p", 100)]), start);
        let other = Slo { itl: Duration::from_millis(50), ..SLO };
        measurements.heard("a", &other, &told(&[]), start);
        assert_eq!(measurements.sum("a", (1, 0), start).rounds, Rounds::default());
        measurements.heard("a", &Slo { target: 0.5, ..other }, &told(&[("p", 7)]), start);
        measurements.heard("a", &other, &told(&[]), start);
        assert_eq!(
            measurements.sum("a", (1, 0), start).rounds.rounds,
            7,
            "the target is no property of a round"
        );
    }
}
