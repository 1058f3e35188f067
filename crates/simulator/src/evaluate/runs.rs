//! Runs of a cell that are made once.

use std::collections::BTreeMap;

use super::{EvaluateError, Site, Split};
use crate::cluster::{Fault, Policies};
use crate::report::{Run, Summary};
use crate::workload::Arrivals;

/// What is run, at whatever rate.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who decides. No two policies of an evaluation have the same name.
    pub policies: &'a Policies,
    /// The workers.
    pub split: Split,
    /// How sessions arrive; the rate is given with each run.
    pub arrivals: Arrivals,
    /// What goes wrong.
    pub faults: &'a [Fault],
}

impl<'a> Case<'a> {
    /// Independent arrivals, and nothing goes wrong.
    #[must_use]
    pub fn plain(policies: &'a Policies, split: Split) -> Self {
        Self { policies, split, arrivals: Arrivals::Poisson { rate: 1.0 }, faults: &[] }
    }
}

/// The runs of a cell; one that was made before is not made again.
pub struct Runs<'a> {
    /// The cell.
    pub site: &'a Site,
    known: BTreeMap<String, Summary>,
    made: &'a dyn Fn(),
}

impl<'a> Runs<'a> {
    /// None yet; `made` is called after each one, for whoever shows progress.
    #[must_use]
    pub fn new(site: &'a Site, made: &'a dyn Fn()) -> Self {
        Self { site, known: BTreeMap::new(), made }
    }

    /// What comes of a case at a rate, sessions a second.
    ///
    /// # Errors
    /// When the run cannot be.
    pub fn summary(&mut self, case: &Case<'_>, rate: f64, seed: u64) -> Result<Summary, EvaluateError> {
        let Case { policies, split, arrivals, faults } = *case;
        let arrivals = arrivals.at(rate);
        let key = format!("{} {split:?} {arrivals:?} {faults:?} {seed}", policies.name);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let summary = self.site.run(policies, split, &arrivals, faults, seed)?.summary;
        self.known.insert(key, summary);
        (self.made)();
        Ok(summary)
    }

    /// The runs of the same cell under other circumstances, none yet.
    pub(super) fn elsewhere<'b>(&self, site: &'b Site) -> Runs<'b>
    where
        'a: 'b,
    {
        Runs::new(site, self.made)
    }

    /// A run of a case under these arrivals, round by round.
    pub(super) fn records(
        &self,
        case: &Case<'_>,
        arrivals: &Arrivals,
        seed: u64,
    ) -> Result<Run, EvaluateError> {
        let run = self.site.records(case.policies, case.split, arrivals, case.faults, seed)?;
        (self.made)();
        Ok(run)
    }
}
