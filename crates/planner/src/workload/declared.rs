//! A workload from what a manifest declares of it.

use ampd_simulator::workload::{Draw, Shape, Workload};

use super::WorkloadModel;
use crate::PlanError;
use crate::error::number;

/// A quantity by its mean and how much it scatters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistic {
    /// The mean.
    pub mean: f64,
    /// Coefficient of variation: deviation over mean.
    pub cv: f64,
}

/// What is declared of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Rounds of a session.
    pub rounds: Statistic,
    /// Increment of the first round, tokens.
    pub first: Statistic,
    /// Increment of each later round, tokens.
    pub later: Statistic,
    /// Output of a round, tokens.
    pub output: Statistic,
    /// Seconds between rounds.
    pub gap: Statistic,
}

impl Statistics {
    /// Statistics of which only means are known: rounds, first increment, later increments, output, gap. They scatter as
    /// those of AMPD's four workloads do, between which these are: 0.4 for rounds and first increments, 0.8 for later
    /// increments and outputs, 1.2 for gaps.
    #[must_use]
    pub fn of_means([rounds, first, later, output, gap]: [f64; 5]) -> Self {
        let of = |mean, cv| Statistic { mean, cv };
        Self {
            rounds: of(rounds, 0.4),
            first: of(first, 0.4),
            later: of(later, 0.8),
            output: of(output, 0.8),
            gap: of(gap, 1.2),
        }
    }
}

impl Statistic {
    /// A log-normal distribution with this mean and variation; a single value where there is no variation.
    fn draw(self, field: &'static str, least: f64, most: f64) -> Result<Draw, PlanError> {
        let Self { mean, cv } = self;
        number(field, mean, mean >= least && mean <= most, "a mean within its bounds")?;
        number(field, cv, (0.0..=10.0).contains(&cv), "a coefficient of variation from 0 to 10")?;
        if cv == 0.0 || mean == 0.0 {
            return Ok(Draw::clipped(Shape::Fixed(mean), least, most));
        }
        let variance = (1.0 + cv * cv).ln();
        let shape = Shape::LogNormal { mu: mean.ln() - variance / 2.0, sigma: variance.sqrt() };
        Ok(Draw::clipped(shape, least, most))
    }
}

impl WorkloadModel {
    /// A workload by its declared statistics, whose sessions arrive independently of one another, `rate` a second.
    ///
    /// # Errors
    /// Names the statistic that cannot be.
    pub fn declared(statistics: &Statistics, rate: f64) -> Result<Self, PlanError> {
        let Statistics { rounds, first, later, output, gap } = statistics;
        // One round in the mean is one round always: a session has no fewer.
        let rounds = if rounds.mean == 1.0 { Statistic { cv: 0.0, ..*rounds } } else { *rounds };
        let workload = Workload {
            name: "declared",
            rounds: rounds.draw("rounds", 1.0, 10_000.0)?,
            first: first.draw("first increments", 1.0, 1e8)?,
            later: later.draw("later increments", 1.0, 1e8)?,
            output: output.draw("outputs", 1.0, 1e8)?,
            gap: gap.draw("gaps", 0.0, 1e6)?,
            gap_probability: 1.0,
        };
        Self::known(workload, rate)
    }
}
