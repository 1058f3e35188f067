//! How the rounds that ended lately did against their objectives: what a service's status says.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

use super::clock::Clock;
use super::wire::Refusal;
use crate::protocol::PrefillPlace;

/// Rounds count for so many seconds after their end.
pub(super) const WINDOW_S: u64 = 300;
/// They leave the window in batches of so many seconds.
const BATCH_S: u64 = 10;

/// How a round ended, as its service's objectives see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With an answer; whether it was within its objectives, and where its prefill ran.
    Answered { ttft: bool, itl: bool, place: PrefillPlace },
    /// Turned away because there was too much to do, or nobody to do it.
    TurnedAway,
    /// Lost on the way.
    Failed,
}

impl Ended {
    /// Of a round that was refused or failed; `None` where the client was at fault, or had a round already.
    pub(super) fn with(refusal: &Refusal) -> Option<Self> {
        match refusal.error.code.status().as_u16() {
            _ if refusal.lost => Some(Self::Failed),
            429 | 503 => Some(Self::TurnedAway),
            500.. => Some(Self::Failed),
            _ => None,
        }
    }

    /// The outcome as the metric of rounds names it.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Answered { ttft: true, itl: true, .. } => "attained",
            Self::Answered { ttft: false, itl: true, .. } => "missed_ttft",
            Self::Answered { ttft: true, itl: false, .. } => "missed_itl",
            Self::Answered { ttft: false, itl: false, .. } => "missed_both",
            Self::TurnedAway => "turned_away",
            Self::Failed => "failed",
        }
    }

    /// Where its prefill ran, if that is known.
    pub(super) fn place(self) -> Option<PrefillPlace> {
        match self {
            Self::Answered { place, .. } => Some(place),
            Self::TurnedAway | Self::Failed => None,
        }
    }
}

/// Rounds of the window. Those that clients took back are in none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
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
    /// Turned away.
    pub turned_away: u64,
    /// Failed.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, ended: Ended) {
        self.rounds += 1;
        match ended {
            Ended::Answered { ttft, itl, place } => {
                self.attained += u64::from(ttft && itl);
                self.ttft_missed += u64::from(!ttft);
                self.ttft_missed_remote += u64::from(!ttft && place == PrefillPlace::Remote);
                self.itl_missed += u64::from(!itl);
            }
            Ended::TurnedAway => self.turned_away += 1,
            Ended::Failed => self.failed += 1,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.attained += other.attained;
        self.ttft_missed += other.ttft_missed;
        self.ttft_missed_remote += other.ttft_missed_remote;
        self.itl_missed += other.itl_missed;
        self.turned_away += other.turned_away;
        self.failed += other.failed;
    }
}

/// The rounds of clients of this sidecar that ended in the window.
#[derive(Debug)]
pub(super) struct Attainment {
    clock: Clock,
    /// Batches by their number since the clock began, oldest first.
    batches: Mutex<VecDeque<(u64, Counts)>>,
}

impl Attainment {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, batches: Mutex::default() }
    }

    /// A round ended just now.
    pub(super) fn ended(&self, ended: Ended) {
        self.at(self.batch(), |batches, now| {
            if batches.back().is_none_or(|(batch, _)| *batch != now) {
                batches.push_back((now, Counts::default()));
            }
            if let Some((_, counts)) = batches.back_mut() {
                counts.add(ended);
            }
        });
    }

    /// The window's rounds.
    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.at(self.batch(), |batches, _| batches.iter().for_each(|(_, counts)| sum += *counts));
        sum
    }

    fn batch(&self) -> u64 {
        self.clock.now_s() as u64 / BATCH_S
    }

    /// Does something with the batches that belong to the window at batch `now`.
    fn at(&self, now: u64, act: impl FnOnce(&mut VecDeque<(u64, Counts)>, u64)) {
        let mut batches = self.batches.lock();
        // Threads may come here in another order than they read the clock.
        let now = batches.back().map_or(now, |(last, _)| now.max(*last));
        while batches.front().is_some_and(|(batch, _)| batch + WINDOW_S / BATCH_S <= now) {
            batches.pop_front();
        }
        act(&mut batches, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorCode;

    const GOOD: Ended = Ended::Answered { ttft: true, itl: true, place: PrefillPlace::Local };

    fn sum(attainment: &Attainment, now: u64) -> Counts {
        let mut sum = Counts::default();
        attainment.at(now, |batches, _| batches.iter().for_each(|(_, counts)| sum += *counts));
        sum
    }

    #[test]
    fn rounds_count_by_what_they_missed() {
        let attainment = Attainment::new(Clock::new());
        let answered = |ttft, itl, place| Ended::Answered { ttft, itl, place };
        for ended in [
            GOOD,
            answered(false, true, PrefillPlace::Local),
            answered(false, true, PrefillPlace::Remote),
            answered(true, false, PrefillPlace::Remote),
            answered(false, false, PrefillPlace::Remote),
            Ended::TurnedAway,
            Ended::Failed,
        ] {
            attainment.ended(ended);
        }
        let expected = Counts {
            rounds: 7,
            attained: 1,
            ttft_missed: 3,
            ttft_missed_remote: 2,
            itl_missed: 2,
            turned_away: 1,
            failed: 1,
        };
        assert_eq!(attainment.counts(), expected);
    }

    #[test]
    fn rounds_leave_the_window_and_there_are_never_more_batches_than_it_has() {
        let attainment = Attainment::new(Clock::new());
        for batch in 0..100 {
            attainment.at(batch, |batches, now| {
                let mut counts = Counts::default();
                counts.add(GOOD);
                batches.push_back((now, counts));
            });
            assert!(attainment.batches.lock().len() as u64 <= WINDOW_S / BATCH_S);
        }
        assert_eq!(sum(&attainment, 99).rounds, 30);
        // The clock of another thread was read earlier: nothing is lost.
        assert_eq!(sum(&attainment, 90).rounds, 30);
        assert_eq!(sum(&attainment, 119).rounds, 10);
        assert_eq!(sum(&attainment, 1000), Counts::default());
    }

    #[test]
    fn what_clients_do_wrong_counts_for_nothing() {
        let with = |code| Ended::with(&Refusal::new(code, "m"));
        for code in [ErrorCode::InvalidParameter, ErrorCode::ContextLengthExceeded, ErrorCode::SessionBusy] {
            assert_eq!(with(code), None, "{code:?}");
        }
        assert_eq!(with(ErrorCode::KvExhausted), Some(Ended::TurnedAway));
        assert_eq!(with(ErrorCode::Saturated), Some(Ended::TurnedAway));
        assert_eq!(with(ErrorCode::Overloaded), Some(Ended::TurnedAway));
        assert_eq!(with(ErrorCode::NotReady), Some(Ended::TurnedAway));
        assert_eq!(with(ErrorCode::EngineFailed), Some(Ended::Failed));
        assert_eq!(Ended::with(&Refusal::lost()), Some(Ended::Failed));
    }
}
