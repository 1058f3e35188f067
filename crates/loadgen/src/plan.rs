//! What is sent when: a trace, scaled and paced.

use std::time::Duration;

use ampd_simulator::trace::{Trace, TraceRound};
use rand_distr::{Distribution as _, Exp};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng as _;

/// Most sessions of one run: each is a task and some memory.
const MOST_SESSIONS: usize = 100_000;

/// How a trace is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacing {
    /// Sessions that begin in a second, in the mean.
    pub rate: f64,
    /// Factor of all lengths, so that a trace of large models suits a small one. No length falls below one token.
    pub scale: f64,
    /// Factor of the gaps between rounds.
    pub gap_scale: f64,
    /// Sessions at most, from the trace's beginning.
    pub sessions: usize,
    /// Seed of arrivals that the trace does not tell.
    pub seed: u64,
}

/// A round to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedRound {
    /// Time from the end of the round before it, or from the session's arrival.
    pub gap: Duration,
    /// New input, tokens.
    pub increment: u32,
    /// Output, tokens.
    pub output: u32,
    /// Tokens of history that survive into it; all where `None`.
    pub keep: Option<u32>,
}

/// A session to come.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedSession {
    /// From the run's beginning.
    pub arrival: Duration,
    /// Its rounds.
    pub rounds: Vec<PlannedRound>,
}

/// All sessions, in the order of their arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The sessions.
    pub sessions: Vec<PlannedSession>,
}

/// A trace cannot be replayed in this way.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A number that has to be positive and is not.
    #[error("{field} is {value}, must be a number above 0")]
    NotPositive {
        /// The field.
        field: &'static str,
        /// What it is.
        value: f64,
    },
    /// Gaps cannot be multiplied by this.
    #[error("gap_scale is {0}, must be a number that is not negative")]
    GapScale(f64),
    /// There would be no session, or too many.
    #[error("the plan has {0} sessions, must have 1 to {MOST_SESSIONS}")]
    Sessions(usize),
}

impl Plan {
    /// The trace as it is to be replayed. Arrivals that the trace tells are stretched to the rate; where one of them is not told,
    /// all are drawn: independent of one another, by the seed.
    ///
    /// # Errors
    /// When a factor makes no sense or there are no sessions.
    pub fn new(trace: &Trace, pacing: &Pacing) -> Result<Self, PlanError> {
        for (field, value) in [("rate", pacing.rate), ("scale", pacing.scale)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(PlanError::NotPositive { field, value });
            }
        }
        if !(pacing.gap_scale.is_finite() && pacing.gap_scale >= 0.0) {
            return Err(PlanError::GapScale(pacing.gap_scale));
        }
        let count = trace.sessions.len().min(pacing.sessions);
        if count == 0 || count > MOST_SESSIONS {
            return Err(PlanError::Sessions(count));
        }
        let taken = &trace.sessions[..count];
        let told: Option<Vec<f64>> = taken.iter().map(|session| session.arrival_s).collect();
        let arrivals =
            told.and_then(|told| stretched(&told, pacing.rate)).map_or_else(|| drawn(count, pacing), Ok)?;
        let mut sessions: Vec<_> = taken
            .iter()
            .zip(arrivals)
            .map(|(session, arrival)| PlannedSession {
                arrival: Duration::from_secs_f64(arrival),
                rounds: session.rounds.iter().map(|round| planned(round, pacing)).collect(),
            })
            .collect();
        sessions.sort_by_key(|session| session.arrival);
        Ok(Self { sessions })
    }

    /// Rounds of all sessions.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.sessions.iter().map(|session| session.rounds.len()).sum()
    }
}

fn planned(round: &TraceRound, pacing: &Pacing) -> PlannedRound {
    let scaled = |tokens: u32| ((f64::from(tokens) * pacing.scale).round() as u32).max(1);
    PlannedRound {
        gap: Duration::from_secs_f64(round.gap_s * pacing.gap_scale),
        increment: scaled(round.increment),
        output: scaled(round.output),
        keep: round.keep.map(|keep| (f64::from(keep) * pacing.scale).round() as u32),
    }
}

/// Arrivals from 0 on with this mean rate; `None` where all come at once, which no factor can stretch.
fn stretched(told: &[f64], rate: f64) -> Option<Vec<f64>> {
    let first = told.iter().copied().fold(f64::INFINITY, f64::min);
    let last = told.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let factor = (told.len() - 1) as f64 / ((last - first) * rate);
    (factor.is_finite() && factor > 0.0).then(|| told.iter().map(|at| (at - first) * factor).collect())
}

fn drawn(count: usize, pacing: &Pacing) -> Result<Vec<f64>, PlanError> {
    let wrong = |_| PlanError::NotPositive { field: "rate", value: pacing.rate };
    let gaps = Exp::new(pacing.rate).map_err(wrong)?;
    let mut rng = Pcg64Mcg::seed_from_u64(pacing.seed);
    let mut now = 0.0;
    let next = std::iter::repeat_with(|| {
        now += gaps.sample(&mut rng);
        now
    });
    Ok(next.take(count).collect())
}

#[cfg(test)]
mod tests {
    use ampd_simulator::trace::parse;

    use super::*;

    const PACING: Pacing = Pacing { rate: 2.0, scale: 0.5, gap_scale: 2.0, sessions: 10, seed: 1 };

    fn trace(arrivals: &[Option<f64>]) -> Trace {
        let lines: Vec<String> = arrivals
            .iter()
            .map(|at| {
                let at = at.map_or("null".to_owned(), |at| at.to_string());
                format!(
                    r#"{{"arrival_s": {at}, "rounds": [{{"new_input_tokens": 100, "output_tokens": 1}}, {{"new_input_tokens": 9, "output_tokens": 40, "think_time_s": 1.5}}]}}"#
                )
            })
            .collect();
        parse(lines.join("\n").as_bytes(), 0.0).unwrap()
    }

    #[test]
    fn lengths_gaps_and_arrivals_are_scaled() {
        let plan = Plan::new(&trace(&[Some(30.0), Some(10.0), Some(20.0)]), &PACING).unwrap();
        let arrivals: Vec<f64> = plan.sessions.iter().map(|session| session.arrival.as_secs_f64()).collect();
        assert_eq!((arrivals, plan.rounds()), (vec![0.0, 0.5, 1.0], 6));
        let rounds = &plan.sessions[0].rounds;
        assert_eq!((rounds[0].increment, rounds[0].output, rounds[0].gap), (50, 1, Duration::ZERO));
        assert_eq!((rounds[1].increment, rounds[1].output, rounds[1].gap), (5, 20, Duration::from_secs(3)));
    }

    #[test]
    fn arrivals_that_are_not_told_are_drawn_by_the_seed() {
        let unknown = trace(&[None; 10]);
        let plan = Plan::new(&unknown, &PACING).unwrap();
        assert_eq!(plan, Plan::new(&unknown, &PACING).unwrap());
        assert_ne!(plan, Plan::new(&unknown, &Pacing { seed: 2, ..PACING }).unwrap());
        let last = plan.sessions[9].arrival.as_secs_f64();
        assert!((1.0..20.0).contains(&last), "10 sessions at 2 a second ended at {last}");
        // At one moment in the trace is not told either: there is no rate in it.
        assert_eq!(Plan::new(&trace(&[Some(1.0); 10]), &PACING).unwrap(), plan);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let trace = trace(&[None]);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                Plan::new(&trace, &Pacing { rate, ..PACING }),
                Err(PlanError::NotPositive { field: "rate", .. })
            ));
        }
        assert!(matches!(
            Plan::new(&trace, &Pacing { scale: 0.0, ..PACING }),
            Err(PlanError::NotPositive { field: "scale", .. })
        ));
        assert_eq!(Plan::new(&trace, &Pacing { gap_scale: -1.0, ..PACING }), Err(PlanError::GapScale(-1.0)));
        assert_eq!(Plan::new(&trace, &Pacing { sessions: 0, ..PACING }), Err(PlanError::Sessions(0)));
    }
}
