//! Measuring a tuned cell, on seeds that nothing was tuned on.

use serde::Serialize;

use super::ablation::{Ablation, ablations};
use super::claim::{Claim, claims};
use super::distribution::{Distribution, distributions};
use super::trial::{Trial, trials};
use super::{Bound, Case, EvaluateError, Family, Interval, Plan, Runs, Setting, Site, Split, Tuning};
use crate::report::Summary;

/// How a setting was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// The policy's best setting for this cell.
    Tuned,
    /// The policy's one setting for all cells.
    OneForAll,
    /// What its authors ship.
    Shipped,
}

/// A goodput, at the setting's best split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goodput {
    /// The policy.
    pub policy: Family,
    /// Its setting.
    pub setting: String,
    /// How that was chosen.
    pub chosen: Chosen,
    /// The split.
    pub split: Split,
    /// Sessions a second, by seed.
    pub by_seed: Vec<f64>,
    /// Their mean.
    pub rate: Interval,
}

/// Which split a row was run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// The policy's own best.
    Own,
    /// The one that comes nearest to the cell's bound, the same for all policies.
    Common,
}

/// A policy at a rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadRow {
    /// The worker type.
    pub model: &'static str,
    /// The workload.
    pub workload: String,
    /// The policy.
    pub policy: Family,
    /// Its setting.
    pub setting: String,
    /// Which split it is.
    pub kind: SplitKind,
    /// The split.
    pub split: Split,
    /// Share of the cell's bound.
    pub load: f64,
    /// Sessions a second.
    pub rate: f64,
    /// Share of rounds that met their objectives.
    pub attainment: Interval,
    /// Share of sessions all of whose rounds did.
    pub session_attainment: Interval,
    /// Means over the seeds; rounds are summed up.
    pub mean: Summary,
}

/// What a cell gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellResult {
    /// The worker type.
    pub model: &'static str,
    /// The workload.
    pub workload: String,
    /// Accelerators.
    pub gpus: u32,
    /// The TTFT objective, seconds.
    pub ttft_s: f64,
    /// The ITL objective, seconds.
    pub itl_s: f64,
    /// When measuring begins, simulated seconds.
    pub from_s: f64,
    /// When it ends.
    pub until_s: f64,
    /// The bound.
    pub bound: Bound,
    /// Goodputs.
    pub goodputs: Vec<Goodput>,
    /// Rows.
    pub rows: Vec<LoadRow>,
    /// Disturbances.
    pub trials: Vec<Trial>,
    /// What the parts of our policy are worth.
    pub ablations: Vec<Ablation>,
    /// What the paper claims.
    pub claims: Vec<Claim>,
    /// Distributions of TTFT and ITL.
    pub distributions: Vec<Distribution>,
}

impl CellResult {
    /// A policy's goodput at its setting so chosen.
    #[must_use]
    pub fn goodput(&self, policy: Family, chosen: Chosen) -> Option<&Goodput> {
        self.goodputs.iter().find(|goodput| goodput.policy == policy && goodput.chosen == chosen)
    }

    /// The best of the rivals that were tuned for this cell, by what they reach on the seeds of the results: whoever
    /// looks back picks the luckiest, so that this favours the rivals.
    #[must_use]
    pub fn best_rival(&self) -> Option<&Goodput> {
        let tuned = self.goodputs.iter().filter(|goodput| goodput.chosen == Chosen::Tuned);
        tuned
            .filter(|goodput| goodput.policy.is_rival())
            .max_by(|a, b| a.rate.mean.total_cmp(&b.rate.mean).then(b.policy.cmp(&a.policy)))
    }
}

/// A setting with its split in this cell.
pub(super) struct Contender<'a> {
    pub setting: &'a Setting,
    pub split: Split,
    /// What tuning made of it, sessions a second.
    pub guess: f64,
}

/// Measures a cell. `one_for_all` are the settings that [`super::one_for_all`] chose; `made` is called after each run.
///
/// # Errors
/// When a run cannot be.
pub fn measure(
    plan: &Plan,
    site: &Site,
    tuning: &Tuning,
    one_for_all: &[usize],
    made: &dyn Fn(),
) -> Result<CellResult, EvaluateError> {
    let settings = plan.settings();
    let contender = |place: usize| Contender {
        setting: &settings[place],
        split: tuning.tuned[place].split,
        guess: tuning.tuned[place].rate,
    };
    let mut chosen: Vec<(Chosen, Contender<'_>)> = Vec::new();
    let best = plan.families.iter().filter_map(|family| tuning.best_of(&settings, *family));
    chosen.extend(best.map(|place| (Chosen::Tuned, contender(place))));
    chosen.extend(one_for_all.iter().map(|place| (Chosen::OneForAll, contender(*place))));
    let shipped = (0..settings.len()).filter(|place| settings[*place].shipped);
    chosen.extend(shipped.map(|place| (Chosen::Shipped, contender(place))));

    let mut runs = Runs::new(site, made);
    let mut goodputs = Vec::new();
    for (how, contender) in &chosen {
        let case = Case::plain(&contender.setting.policies, contender.split);
        let seeds = if *how == Chosen::Tuned { &plan.seeds } else { plan.few_seeds() };
        let by_seed = plan.search.goodputs(&mut runs, &case, contender.guess, seeds)?;
        goodputs.push(Goodput {
            policy: contender.setting.family,
            setting: contender.setting.policies.name.clone(),
            chosen: *how,
            split: contender.split,
            rate: Interval::of(&by_seed),
            by_seed,
        });
    }
    let span = site.span();
    let mut result = CellResult {
        model: site.cell.card.name,
        workload: site.cell.workload.name().into(),
        gpus: site.cell.gpus,
        ttft_s: site.slo.ttft_s,
        itl_s: site.slo.itl_s,
        from_s: span.from_s,
        until_s: span.until_s,
        bound: tuning.bound,
        goodputs,
        rows: Vec::new(),
        trials: Vec::new(),
        ablations: Vec::new(),
        claims: Vec::new(),
        distributions: Vec::new(),
    };
    let tuned: Vec<&Contender<'_>> =
        chosen.iter().filter(|(how, _)| *how == Chosen::Tuned).map(|(_, contender)| contender).collect();
    result.rows = rows(plan, &mut runs, &tuned, &tuning.bound)?;
    if plan.disturbed {
        result.trials = trials(plan, &mut runs, &tuned, &result)?;
        result.ablations = ablations(plan, &mut runs, &result)?;
        result.claims = claims(plan, &mut runs, &tuning.bound)?;
        result.distributions = distributions(plan, site, &tuned, &result)?;
    }
    Ok(result)
}

fn rows(
    plan: &Plan,
    runs: &mut Runs<'_>,
    tuned: &[&Contender<'_>],
    bound: &Bound,
) -> Result<Vec<LoadRow>, EvaluateError> {
    let mut rows = Vec::new();
    for kind in [SplitKind::Own, SplitKind::Common] {
        for contender in tuned {
            let family = contender.setting.family;
            // Without prefill workers is all that aggregated serving can be.
            let split =
                if kind == SplitKind::Own || family.is_aggregated() { contender.split } else { bound.split };
            for &load in &plan.loads {
                let rate = load * bound.rate;
                let case = Case::plain(&contender.setting.policies, split);
                let summaries: Vec<Summary> = plan
                    .seeds
                    .iter()
                    .map(|&seed| runs.summary(&case, rate, seed))
                    .collect::<Result<_, _>>()?;
                let of = |value: fn(&Summary) -> f64| {
                    Interval::of(&summaries.iter().map(value).collect::<Vec<_>>())
                };
                rows.push(LoadRow {
                    model: runs.site.cell.card.name,
                    workload: runs.site.cell.workload.name().into(),
                    policy: family,
                    setting: contender.setting.policies.name.clone(),
                    kind,
                    split,
                    load,
                    rate,
                    attainment: of(|summary| summary.attainment),
                    session_attainment: of(|summary| summary.session_attainment),
                    mean: Summary::mean(&summaries),
                });
            }
        }
    }
    Ok(rows)
}
