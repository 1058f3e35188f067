//! Whether a service meets its objectives, from what its sidecars counted.

use ampd_api::resolved::Slo;
use ampd_api::service::SloStatus;

use super::verdict::Verdict;
use crate::condition::{Holds, Reason};

/// Fewer rounds say nothing of a share.
const FEWEST: u64 = 20;
/// So much below its target, percent points, has a service to be before it counts as missing it: near the target, rounds
/// that come and go would have the condition change each time.
const SLACK_POINTS: f64 = 1.0;

/// The rounds of a service that ended in the window of its sidecars. Those that clients took back are in none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Rounds {
    /// Rounds that ended.
    pub rounds: u64,
    /// Within both objectives.
    pub attained: u64,
    /// Answered with a first token later than its objective.
    pub ttft_missed: u64,
    /// Those of them whose prefill ran on a prefill worker.
    pub ttft_missed_remote: u64,
    /// Answered with tokens slower than their objective.
    pub itl_missed: u64,
    /// Turned away, because there was too much to do or nobody to do it.
    pub turned_away: u64,
    /// Failed.
    pub failed: u64,
}

impl Rounds {
    /// A share of them, from 0 to 1, each count rounded down.
    pub(crate) fn share(&self, share: f64) -> Self {
        let of = |count: u64| (count as f64 * share.clamp(0.0, 1.0)) as u64;
        Self {
            rounds: of(self.rounds),
            attained: of(self.attained),
            ttft_missed: of(self.ttft_missed),
            ttft_missed_remote: of(self.ttft_missed_remote),
            itl_missed: of(self.itl_missed),
            turned_away: of(self.turned_away),
            failed: of(self.failed),
        }
    }
}

/// What the sidecars of a service said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// The sum of those that answered, and of pods that are gone.
    pub rounds: Rounds,
    /// How far back it goes, seconds.
    pub window_s: u64,
    /// Sidecars of ready decode pods.
    pub asked: usize,
    /// Those of them that told of rounds under the present objectives.
    pub answered: usize,
}

impl Measured {
    /// Takes in the rounds of one sidecar.
    pub fn add(&mut self, said: &Rounds, window_s: u64) {
        self.window_s = self.window_s.max(window_s);
        let sum = &mut self.rounds;
        for (total, part) in [
            (&mut sum.rounds, said.rounds),
            (&mut sum.attained, said.attained),
            (&mut sum.ttft_missed, said.ttft_missed),
            (&mut sum.ttft_missed_remote, said.ttft_missed_remote),
            (&mut sum.itl_missed, said.itl_missed),
            (&mut sum.turned_away, said.turned_away),
            (&mut sum.failed, said.failed),
        ] {
            *total = total.saturating_add(part);
        }
    }

    /// The share of rounds of which `missed` missed something, percent.
    fn percent_without(&self, missed: u64) -> f64 {
        100.0 * self.rounds.rounds.saturating_sub(missed) as f64 / self.rounds.rounds.max(1) as f64
    }

    fn attained_percent(&self) -> f64 {
        100.0 * self.rounds.attained.min(self.rounds.rounds) as f64 / self.rounds.rounds.max(1) as f64
    }

    /// For the status; `None` where no round ended.
    #[must_use]
    pub fn status(&self) -> Option<SloStatus> {
        let Rounds { rounds, ttft_missed, itl_missed, turned_away, failed, .. } = self.rounds;
        let unanswered = turned_away.saturating_add(failed);
        let percent = |percent: f64| format!("{percent:.1}");
        (rounds > 0).then(|| SloStatus {
            attained_percent: percent(self.attained_percent()),
            ttft_percent: percent(self.percent_without(ttft_missed.saturating_add(unanswered))),
            itl_percent: percent(self.percent_without(itl_missed.saturating_add(unanswered))),
            rounds: i64::try_from(rounds).unwrap_or(i64::MAX),
            window_seconds: i32::try_from(self.window_s).unwrap_or(i32::MAX),
        })
    }
}

/// The condition `SLOMet`. `before` is whether it held until now.
pub(crate) fn slo_met(measured: &Measured, slo: &Slo, before: Option<bool>) -> Verdict {
    let unknown = |reason, message: String| Verdict::new(Holds::Unknown, reason, message);
    if measured.asked == 0 {
        return unknown(const { Reason::new("NotServing") }, "no decode worker is ready".into());
    }
    if measured.answered == 0 {
        let message = format!("none of {} sidecars tells of rounds under these objectives", measured.asked);
        return unknown(const { Reason::new("NotMeasured") }, message);
    }
    let Rounds { rounds, .. } = measured.rounds;
    let minutes = measured.window_s as f64 / 60.0;
    if rounds == 0 {
        let message = format!(
            "no round had ended in the last {minutes} minutes when the sidecars were asked, once a minute"
        );
        return unknown(const { Reason::new("NoTraffic") }, message);
    }
    // A target of 55 % is not to be 55.00000000000001.
    let (percent, target) = (measured.attained_percent(), (1e4 * slo.target).round() / 100.0);
    let silent = measured.asked.saturating_sub(measured.answered);
    let silent = if silent == 0 { String::new() } else { format!("; {silent} sidecars do not tell") };
    let numbers = format!(
        "{percent:.1} % of {rounds} rounds in the last {minutes} minutes had their first token within {:?} and the \
         others at most {:?} apart, {target} % are to{silent}",
        slo.ttft, slo.itl
    );
    if rounds < FEWEST {
        let message = format!("{numbers}: fewer than {FEWEST} rounds say nothing of a share");
        return unknown(const { Reason::new("FewRounds") }, message);
    }
    let least = if before == Some(true) { target - SLACK_POINTS } else { target };
    if percent >= least {
        return Verdict::new(Holds::True, const { Reason::new("Attained") }, numbers);
    }
    let (reason, words) = what_binds(&measured.rounds);
    Verdict::new(Holds::False, reason, format!("{numbers}; {words}"))
}

/// What most rounds missed, and which workers are too few for it.
fn what_binds(rounds: &Rounds) -> (Reason, String) {
    let Rounds { ttft_missed, ttft_missed_remote, itl_missed, turned_away, failed, .. } = *rounds;
    let most = turned_away.max(failed).max(ttft_missed).max(itl_missed);
    if turned_away == most {
        let words =
            format!("{turned_away} were turned away: there was too much to do, or no worker was ready");
        return (const { Reason::new("Overloaded") }, words);
    }
    if failed == most {
        return (
            const { Reason::new("RoundsFailed") },
            format!("{failed} failed: the sidecars' logs say why"),
        );
    }
    if ttft_missed == most {
        let place = if ttft_missed_remote > ttft_missed / 2 { "prefill" } else { "decode" };
        let words = format!(
            "{ttft_missed} had their first token late, {ttft_missed_remote} of them with remote prefills: {place} \
             workers bind"
        );
        return (const { Reason::new("TTFTMissed") }, words);
    }
    let words = format!("{itl_missed} had their tokens too far apart: decode workers bind");
    (const { Reason::new("ITLMissed") }, words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SLO: Slo = Slo { ttft: Duration::from_secs(2), itl: Duration::from_millis(150), target: 0.9 };

    fn measured(rounds: Rounds) -> Measured {
        Measured { rounds, window_s: 300, asked: 2, answered: 2 }
    }

    fn told(measured: &Measured, before: Option<bool>) -> (Holds, &'static str, String) {
        let verdict = slo_met(measured, &SLO, before);
        (verdict.holds, verdict.reason.as_str(), verdict.message)
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_says_why() {
        let none = Measured::default();
        assert_eq!(told(&none, Some(true)).1, "NotServing");
        assert_eq!(told(&Measured { asked: 2, ..none }, None).1, "NotMeasured");
        assert_eq!(told(&measured(Rounds::default()), None).1, "NoTraffic");
        let few = Rounds { rounds: 19, attained: 0, ttft_missed: 19, ..Rounds::default() };
        let (holds, reason, message) = told(&measured(few), None);
        assert_eq!((holds, reason), (Holds::Unknown, "FewRounds"));
        assert!(message.contains("0.0 % of 19 rounds in the last 5 minutes"), "{message}");
        assert_eq!(measured(Rounds::default()).status(), None);
    }

    #[test]
    fn near_the_target_it_stays_as_it_was() {
        let attained = |attained| {
            measured(Rounds { rounds: 1000, attained, ttft_missed: 1000 - attained, ..Rounds::default() })
        };
        for (count, before, holds) in [
            (900, None, Holds::True),
            (899, None, Holds::False),
            (899, Some(false), Holds::False),
            (890, Some(true), Holds::True),
            (889, Some(true), Holds::False),
        ] {
            assert_eq!(told(&attained(count), before).0, holds, "{count} {before:?}");
        }
    }

    #[test]
    fn a_target_is_reached_with_its_very_share() {
        for percent in 1..=100_u32 {
            let slo = Slo { target: f64::from(percent) / 100.0, ..SLO };
            let attained = u64::from(percent);
            let rounds = Rounds { rounds: 100, attained, ttft_missed: 100 - attained, ..Rounds::default() };
            let verdict = slo_met(&measured(rounds), &slo, None);
            assert_eq!(verdict.holds, Holds::True, "{percent}");
            assert!(verdict.message.contains(&format!(", {percent} % are to")), "{}", verdict.message);
        }
    }

    #[test]
    fn the_reason_is_what_most_rounds_missed() {
        let base = Rounds { rounds: 100, ..Rounds::default() };
        for (rounds, reason, words) in [
            (
                Rounds { ttft_missed: 50, ttft_missed_remote: 30, itl_missed: 20, ..base },
                "TTFTMissed",
                "prefill workers bind",
            ),
            (
                Rounds { ttft_missed: 50, ttft_missed_remote: 20, itl_missed: 20, ..base },
                "TTFTMissed",
                "decode workers bind",
            ),
            (Rounds { ttft_missed: 10, itl_missed: 20, ..base }, "ITLMissed", "decode workers bind"),
            (Rounds { turned_away: 60, itl_missed: 20, ..base }, "Overloaded", "60 were turned away"),
            (Rounds { failed: 100, ..base }, "RoundsFailed", "100 failed"),
        ] {
            let (holds, found, message) = told(&measured(rounds), Some(true));
            assert_eq!((holds, found), (Holds::False, reason));
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn the_status_has_a_share_for_each_objective() {
        let rounds =
            Rounds { rounds: 8, attained: 4, ttft_missed: 2, itl_missed: 1, failed: 1, ..Rounds::default() };
        let mut sum = Measured { asked: 3, answered: 2, ..Measured::default() };
        sum.add(&rounds, 300);
        sum.add(&rounds, 300);
        let status = sum.status().unwrap();
        assert_eq!(
            (status.attained_percent.as_str(), status.rounds, status.window_seconds),
            ("50.0", 16, 300)
        );
        assert_eq!((status.ttft_percent.as_str(), status.itl_percent.as_str()), ("62.5", "75.0"));
        assert!(told(&sum, None).2.contains("1 sidecars do not tell"));
    }

    proptest! {
        #[test]
        fn whatever_sidecars_say_there_is_a_verdict(counts in any::<[u64; 7]>(), asked in 0..9_usize, before: Option<bool>) {
            let [rounds, attained, ttft_missed, ttft_missed_remote, itl_missed, turned_away, failed] = counts;
            let said = Rounds { rounds, attained, ttft_missed, ttft_missed_remote, itl_missed, turned_away, failed };
            let mut sum = Measured { asked, answered: 2, ..Measured::default() };
            sum.add(&said, u64::MAX);
            sum.add(&said, 0);
            let percent = sum.status().map_or(0.0, |status| status.attained_percent.parse::<f64>().unwrap());
            prop_assert!((0.0..=100.0).contains(&percent));
            prop_assert!(!slo_met(&sum, &SLO, before).message.is_empty());
        }
    }
}
