//! Successive halving: all candidates have a run, the better half another one, and the best few those that decide.

use ampd_simulator::evaluate::Interval;
use serde::Serialize;

use super::{rank, value};
use crate::judge::{Judge, Purpose};
use crate::{Deployment, PlanError};

/// Runs that compare, of each that is left: at the first rung, at the second.
const RUNGS: [usize; 2] = [1, 2];

/// Why a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The best is better than all that were left beyond doubt, or there was no other.
    Separated,
    /// Those that were left have had all runs.
    AllRuns,
    /// No more rounds may be simulated.
    RoundsSpent,
}

/// Runs the candidates to compare them; those that have been run, best first, and whether the rounds were enough for all.
pub(crate) fn halve(
    judge: &mut Judge<'_>,
    candidates: &[Deployment],
) -> Result<(Vec<Deployment>, bool), PlanError> {
    let mut alive = candidates.to_vec();
    alive.sort_unstable();
    alive.dedup();
    let mut gone: Vec<Deployment> = Vec::new();
    for seeds in RUNGS {
        let mut enough = true;
        for deployment in &alive {
            enough = enough && judge.run(deployment, Purpose::Comparing, seeds)?;
        }
        // Those that the budget did not allow a run are not known at all.
        alive.retain(|deployment| !judge.outcomes(deployment, Purpose::Comparing).is_empty());
        let first = |of: &Deployment| {
            let outcomes = judge.outcomes(of, Purpose::Comparing);
            &outcomes[..seeds.min(outcomes.len())]
        };
        rank(judge, &mut alive, first);
        if !enough {
            alive.extend(gone);
            return Ok((alive, false));
        }
        // The better half goes on, two at least.
        let keep = alive.len().div_ceil(2).max(2);
        gone.splice(0..0, alive.split_off(keep.min(alive.len())));
    }
    alive.extend(gone);
    Ok((alive, true))
}

/// Has the best `count` of the ranked ones have the runs that decide, and puts them in order by these; why that ended.
pub(crate) fn decide(
    judge: &mut Judge<'_>,
    ranked: &mut [Deployment],
    count: usize,
) -> Result<Ended, PlanError> {
    let seeds = judge.ground.task.effort.seeds as usize;
    let count = count.min(ranked.len());
    let deciding = &mut ranked[..count];
    for deployment in deciding.iter() {
        if !judge.run(deployment, Purpose::Deciding, seeds)? {
            return Ok(Ended::RoundsSpent);
        }
    }
    rank(judge, deciding, |of| judge.outcomes(of, Purpose::Deciding));
    let Some((best, others)) = deciding.split_first() else { return Ok(Ended::AllRuns) };
    let all = others.iter().all(|other| separated(judge, best, other));
    Ok(if all { Ended::Separated } else { Ended::AllRuns })
}

/// Whether a deployment is better than another one beyond doubt: by the interval of their differences, seed by seed.
fn separated(judge: &Judge<'_>, best: &Deployment, other: &Deployment) -> bool {
    let (slo, goal) = (judge.ground.task.slo, judge.ground.task.goal);
    let of = |deployment| judge.outcomes(deployment, Purpose::Deciding).iter();
    let pairs = of(best).zip(of(other));
    let differences: Vec<f64> = pairs.map(|(a, b)| value(goal, a, &slo) - value(goal, b, &slo)).collect();
    let interval = Interval::of(&differences);
    interval.mean > interval.half_width
}
