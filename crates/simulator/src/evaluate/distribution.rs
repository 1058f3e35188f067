//! Distributions of TTFT and ITL.

use serde::Serialize;

use super::measure::{CellResult, Contender};
use super::{EvaluateError, Family, PAPER_LOAD, Plan, Site};
use crate::report::quantile;
use crate::workload::Arrivals;

/// The distributions under one policy, at its own best split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// The policy.
    pub policy: Family,
    /// Share of the cell's bound.
    pub load: f64,
    /// Quantiles of TTFT from 0 to 1 in even steps, in objectives. A round that never had its first token counts as the
    /// largest.
    pub ttft: Vec<f64>,
    /// The same of the rounds' mean ITL; without rounds that never ended.
    pub itl: Vec<f64>,
}

/// Steps between the quantiles.
const STEPS: usize = 50;

/// The distributions of a cell under our policy, plain disaggregation, the published policy and the best rival.
pub(super) fn distributions(
    plan: &Plan,
    site: &Site,
    tuned: &[&Contender<'_>],
    result: &CellResult,
) -> Result<Vec<Distribution>, EvaluateError> {
    let rival = result.best_rival().map(|rival| rival.policy);
    let shown = |family: Family| {
        Some(family) == rival || matches!(family, Family::Ampd | Family::AlwaysRemote | Family::Paper)
    };
    let Some(&seed) = plan.seeds.first() else { return Ok(Vec::new()) };
    let span = site.span();
    let mut distributions = Vec::new();
    for contender in tuned.iter().filter(|contender| shown(contender.setting.family)) {
        let arrivals = Arrivals::Poisson { rate: PAPER_LOAD * result.bound.rate };
        let run = site.records(&contender.setting.policies, contender.split, &arrivals, &[], seed)?;
        let measured =
            || run.rounds.iter().filter(|round| (span.from_s..span.until_s).contains(&round.arrival_s));
        let mut ttfts: Vec<f64> = measured().map(|round| round.ttft_s.unwrap_or(run.ended_s)).collect();
        let mut itls: Vec<f64> = measured().filter_map(|round| round.itl_mean_s).collect();
        distributions.push(Distribution {
            policy: contender.setting.family,
            load: PAPER_LOAD,
            ttft: quantiles(&mut ttfts, site.slo.ttft_s),
            itl: quantiles(&mut itls, site.slo.itl_s),
        });
    }
    Ok(distributions)
}

fn quantiles(values: &mut [f64], objective_s: f64) -> Vec<f64> {
    (0..=STEPS).map(|step| quantile(values, step as f64 / STEPS as f64) / objective_s).collect()
}
