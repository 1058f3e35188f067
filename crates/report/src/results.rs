//! All that an evaluation gave.

use ampd_simulator::evaluate::{CellResult, Goal, Plan, goals};
use serde::Serialize;

/// All that an evaluation gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// Seeds that settings and splits were chosen on.
    pub tuning_seeds: Vec<u64>,
    /// Seeds that the results are of.
    pub seeds: Vec<u64>,
    /// Of which so many, the first, were used for disturbances and ablations.
    pub few: usize,
    /// Share of rounds that have to meet their objectives where goodput is told.
    pub attainment: f64,
    /// Rates of the rows, as shares of each cell's bound.
    pub loads: Vec<f64>,
    /// Each policy's one setting for all cells.
    pub one_for_all: Vec<String>,
    /// What was to be reached.
    pub goals: Vec<Goal>,
    /// The cells.
    pub cells: Vec<CellResult>,
}

impl Results {
    /// Of a plan's cells; `one_for_all` are places among the plan's settings.
    #[must_use]
    pub fn of(plan: &Plan, one_for_all: &[usize], cells: Vec<CellResult>) -> Self {
        let settings = plan.settings();
        let name = |place: &usize| settings.get(*place).map(|setting| setting.policies.name.clone());
        Self {
            tuning_seeds: plan.tuning_seeds.clone(),
            seeds: plan.seeds.clone(),
            few: plan.few_seeds().len(),
            attainment: plan.search.attainment,
            loads: plan.loads.clone(),
            one_for_all: one_for_all.iter().filter_map(name).collect(),
            goals: goals(&cells),
            cells,
        }
    }
}
