//! What comes: sessions, and how often.

mod declared;
mod recorded;

use ampd_simulator::workload::{Arrivals, Source, Workload};

use crate::PlanError;
use crate::error::number;
pub use declared::{Statistic, Statistics};
pub use recorded::LEAST_SESSIONS;

/// Sessions with their rounds, lengths and gaps, and the process by which they arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadModel {
    /// Where sessions come from.
    pub source: Source,
    /// When they arrive.
    pub arrivals: Arrivals,
}

impl WorkloadModel {
    /// A workload with known statistics, whose sessions arrive independently of one another, `rate` a second.
    ///
    /// # Errors
    /// When the rate is none.
    pub fn known(workload: Workload, rate: f64) -> Result<Self, PlanError> {
        let model = Self { source: Source::Drawn(workload), arrivals: Arrivals::Poisson { rate } };
        model.check()?;
        Ok(model)
    }

    /// The same with so many times the sessions.
    ///
    /// # Errors
    /// When the factor is none.
    pub fn times(mut self, factor: f64) -> Result<Self, PlanError> {
        number("the factor of the rate", factor, factor > 0.0, "a positive number")?;
        self.arrivals = self.arrivals.at(self.arrivals.rate() * factor);
        self.check()?;
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let rate = self.arrivals.rate();
        number("the rate", rate, rate > 0.0 && rate <= MOST_RATE, "above 0 and at most 1e6 sessions a second")
    }
}

/// More sessions a second than any budget of accelerators could serve.
const MOST_RATE: f64 = 1e6;
