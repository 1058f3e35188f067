//! Drawing the sessions of a workload.

use rand_distr::{Bernoulli, Distribution};

use super::{Arrivals, Draw, Shape};
use crate::random::{Rng, stream};
use crate::trace::{Trace, TraceRound, TraceSession};

/// A workload that cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A rate that is not positive.
    #[error("the rate is {0} sessions a second, it must be a positive number")]
    Rate(f64),
    /// A coefficient of variation that is not positive.
    #[error("the coefficient of variation is {0}, it must be a positive number")]
    Variation(f64),
    /// A swing out of its range.
    #[error(
        "the rate swings by {swing} of itself in {period_s} s: the first must be in 0..1, the second positive"
    )]
    Swing {
        /// The share.
        swing: f64,
        /// The period, seconds.
        period_s: f64,
    },
    /// A surge that is none.
    #[error("a surge has {0} times the rate, it must be a number that is at least 1")]
    Surge(f64),
    /// A recording without sessions.
    #[error("the trace holds no session to draw from")]
    NoSessions,
    /// More arrivals than memory can hold.
    #[error("there would be more than {0} sessions")]
    TooMany(usize),
    /// Bounds without anything between them.
    #[error("values are to be from {least} to {most}")]
    Bounds {
        /// The least value.
        least: f64,
        /// The largest.
        most: f64,
    },
    /// A duration that is not positive.
    #[error("the trace is to be {0} s long, it must be a positive number of seconds")]
    Duration(f64),
    /// A scale that is not positive.
    #[error("increments are to be scaled by {0}, it must be a positive number")]
    Scale(f64),
    /// A distribution that has no values.
    #[error("{0:?} is no distribution")]
    Shape(Shape),
    /// A probability out of its range.
    #[error("{0} is no probability")]
    Probability(f64),
}

/// The statistics of a workload. Draws are independent of one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Rounds of a session.
    pub rounds: Draw,
    /// Increment of the first round, tokens.
    pub first: Draw,
    /// Increment of each later round, tokens.
    pub later: Draw,
    /// Output of a round, tokens.
    pub output: Draw,
    /// Seconds between rounds, where there are any.
    pub gap: Draw,
    /// Probability that there are.
    pub gap_probability: f64,
}

impl Workload {
    /// The sessions that arrive within `duration_s` seconds. Sessions are drawn in the order of their arrival from a
    /// stream of their own, so that a session is the same at every rate.
    ///
    /// # Errors
    /// When a rate, a duration or a distribution cannot be.
    pub fn generate(&self, arrivals: &Arrivals, duration_s: f64, seed: u64) -> Result<Trace, WorkloadError> {
        if !(duration_s.is_finite() && duration_s > 0.0) {
            return Err(WorkloadError::Duration(duration_s));
        }
        let times = arrivals.before(duration_s, &mut stream(seed, "arrivals"))?;
        let mut rng = stream(seed, self.name);
        let session = |arrival_s| {
            let rounds = self.draw_rounds(&mut rng)?;
            Ok(TraceSession { arrival_s: Some(arrival_s), rounds })
        };
        Ok(Trace { sessions: times.into_iter().map(session).collect::<Result<_, WorkloadError>>()? })
    }

    /// The workload with the increments of later rounds scaled, where their lengths are only assumed.
    ///
    /// # Errors
    /// When the scale is not positive.
    pub fn with_later_scaled(self, scale: f64) -> Result<Self, WorkloadError> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(WorkloadError::Scale(scale));
        }
        let Shape::LogNormal { mu, sigma } = self.later.shape else {
            return Err(WorkloadError::Shape(self.later.shape));
        };
        let shape = Shape::LogNormal { mu: mu + scale.ln(), sigma };
        let later = Draw { shape, least: self.later.least * scale, most: self.later.most * scale };
        Ok(Self { later, ..self })
    }

    fn draw_rounds(&self, rng: &mut Rng) -> Result<Vec<TraceRound>, WorkloadError> {
        let waits = Bernoulli::new(self.gap_probability)
            .map_err(|_| WorkloadError::Probability(self.gap_probability))?;
        let count = self.rounds.sample(rng)?.round().max(1.0) as usize;
        let round = |number| {
            let increment = if number == 0 { &self.first } else { &self.later };
            let gap_s = if number > 0 && waits.sample(rng) { self.gap.sample(rng)? } else { 0.0 };
            Ok(TraceRound {
                increment: increment.sample(rng)?.round().max(1.0) as u32,
                output: self.output.sample(rng)?.round().max(1.0) as u32,
                gap_s,
                keep: None,
            })
        };
        (0..count).map(round).collect()
    }
}
