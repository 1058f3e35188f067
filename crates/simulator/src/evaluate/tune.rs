//! Tuning: each setting's best split, on seeds of its own.

use super::{Bound, Case, EvaluateError, Family, Plan, Runs, Setting, Site, Split};

/// A setting that is so far behind its policy's best with the first seed is not asked again with the others.
const BEHIND: f64 = 0.95;
/// No prefill workers at all are tried where aggregated serving reaches so much of the best: there, rivals' rules decide
/// nothing.
const NEAR: f64 = 0.9;

/// A setting at its best split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// The split.
    pub split: Split,
    /// Goodput there, sessions a second; the mean over the seeds.
    pub rate: f64,
}

/// What tuning a cell gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// The cell's bound.
    pub bound: Bound,
    /// For each of the plan's settings.
    pub tuned: Vec<Tuned>,
}

impl Tuning {
    /// Finds the best split of every setting of the plan in a cell; `made` is called after each run.
    ///
    /// # Errors
    /// When a run cannot be.
    pub fn of(plan: &Plan, site: &Site, made: &dyn Fn()) -> Result<Self, EvaluateError> {
        let bound = Bound::of(site)?;
        let mut runs = Runs::new(site, made);
        let (mut tuned, mut guess, mut start) = (Vec::new(), bound.rate * 0.9, bound.split.prefill);
        let mut best: Option<(Family, f64)> = None;
        let aggregated = aggregated(plan, &mut runs, bound.rate * 0.6)?;
        for setting in plan.settings() {
            let mut found = best_split(plan, &mut runs, &setting, (start, guess), aggregated)?;
            if found.rate > 0.0 && !setting.family.is_aggregated() {
                (start, guess) = (found.split.prefill.max(1), found.rate);
            }
            let ahead = best.filter(|(family, _)| *family == setting.family).map_or(0.0, |(_, rate)| rate);
            if found.rate >= BEHIND * ahead {
                let case = Case::plain(&setting.policies, found.split);
                let rates = plan.tuning.goodputs(&mut runs, &case, found.rate, &plan.tuning_seeds)?;
                found.rate = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
            }
            if found.rate > ahead {
                best = Some((setting.family, found.rate));
            }
            tuned.push(found);
        }
        Ok(Self { bound, tuned })
    }

    /// The place of a policy's best setting in this cell.
    #[must_use]
    pub fn best_of(&self, settings: &[Setting], family: Family) -> Option<usize> {
        let of_family = (0..settings.len()).filter(|place| settings[*place].family == family);
        of_family.max_by(|a, b| self.tuned[*a].rate.total_cmp(&self.tuned[*b].rate).then(b.cmp(a)))
    }
}

fn first_seed(plan: &Plan) -> Result<u64, EvaluateError> {
    let none = EvaluateError::Search { field: "tuning_seeds", value: 0.0, wanted: "one at least" };
    plan.tuning_seeds.first().copied().ok_or(none)
}

/// Goodput of aggregated serving with the first of the tuning seeds, whatever of it is in the plan.
fn aggregated(plan: &Plan, runs: &mut Runs<'_>, guess: f64) -> Result<f64, EvaluateError> {
    let split = Split { prefill: 0, decode: runs.site.cell.workers() };
    let seed = first_seed(plan)?;
    let mut best = 0.0_f64;
    for setting in Family::AlwaysLocal.settings() {
        best = best.max(plan.tuning.goodput(runs, &Case::plain(&setting.policies, split), guess, seed)?);
    }
    Ok(best)
}

/// The split with the highest goodput with the first of the tuning seeds: from `start` prefill workers on, one worker more
/// or less as long as that gains; then none at all.
fn best_split(
    plan: &Plan,
    runs: &mut Runs<'_>,
    setting: &Setting,
    (start, guess): (u32, f64),
    aggregated: f64,
) -> Result<Tuned, EvaluateError> {
    let workers = runs.site.cell.workers();
    let of = |prefill: u32| Split { prefill, decode: workers.saturating_sub(prefill) };
    let seed = first_seed(plan)?;
    let first = if setting.family.is_aggregated() { 0 } else { start.min(workers.saturating_sub(1)) };
    let goodput = |runs: &mut Runs<'_>, split: Split, guess: f64| {
        plan.tuning.goodput(runs, &Case::plain(&setting.policies, split), guess, seed)
    };
    let mut best = Tuned { split: of(first), rate: goodput(runs, of(first), guess)? };
    if setting.family.is_aggregated() {
        return Ok(best);
    }
    let down = (1..first).rev().collect::<Vec<_>>();
    let up = (first + 1..workers).collect::<Vec<_>>();
    for prefills in [down, up, vec![0]] {
        for prefill in prefills {
            if prefill == 0 && setting.family.is_rival() && aggregated < NEAR * best.rate {
                break;
            }
            let case = Case::plain(&setting.policies, of(prefill));
            if best.rate > 0.0 && !plan.tuning.exceeds(runs, &case, best.rate, seed)? {
                break;
            }
            let rate = goodput(runs, of(prefill), best.rate.max(guess / 4.0))?;
            if rate <= best.rate {
                break;
            }
            best = Tuned { split: of(prefill), rate };
        }
    }
    Ok(best)
}

/// For each policy of the plan the one setting for all cells: the one with the highest mean share of the best that any
/// setting of any rival reaches in a cell. In the order of [`Plan::families`]; places among the plan's settings.
#[must_use]
pub fn one_for_all(plan: &Plan, tunings: &[&Tuning]) -> Vec<usize> {
    let settings = plan.settings();
    let score = |place: usize| -> f64 {
        let share = |tuning: &&Tuning| {
            let most = tuning.tuned.iter().map(|tuned| tuned.rate).fold(0.0, f64::max);
            if most > 0.0 { tuning.tuned[place].rate / most } else { 0.0 }
        };
        tunings.iter().map(share).sum()
    };
    let best = |family: &Family| {
        let of_family = (0..settings.len()).filter(|place| settings[*place].family == *family);
        of_family.max_by(|a, b| score(*a).total_cmp(&score(*b)).then(b.cmp(a)))
    };
    plan.families.iter().filter_map(best).collect()
}
