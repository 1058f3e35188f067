//! Successive halving: all candidates have a run, the better half another one, until one is left.

use ampd_simulator::evaluate::Interval;
use serde::Serialize;

use super::{compare, value};
use crate::judge::Judge;
use crate::{Deployment, PlanError};

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

/// Runs the candidates; those that have been run, best first, and why it ended. `enough` is asked after each rung with
/// the best one and may end it.
pub(crate) fn halve(
    judge: &mut Judge<'_>,
    candidates: &[Deployment],
    enough: impl Fn(&Judge<'_>, &Deployment) -> bool,
) -> Result<(Vec<Deployment>, Ended), PlanError> {
    let most = judge.ground.task.effort.seeds as usize;
    let (mut alive, mut gone): (Vec<Deployment>, Vec<Deployment>) = (candidates.to_vec(), Vec::new());
    alive.sort_unstable();
    alive.dedup();
    let (mut seeds, mut ended) = (1, Ended::AllRuns);
    loop {
        let mut all = true;
        for deployment in &alive {
            all = judge.run(deployment, seeds)?;
            if !all {
                break;
            }
        }
        // Those that the budget did not allow a run are not known at all.
        alive.retain(|deployment| !judge.outcomes(deployment).is_empty());
        alive.sort_by(|a, b| compare(judge, a, b));
        if !all {
            ended = Ended::RoundsSpent;
            break;
        }
        let Some((best, others)) = alive.split_first() else { break };
        if others.is_empty() || others.iter().all(|other| separated(judge, best, other)) {
            // What is told of it is to be told with all runs.
            ended = if judge.run(best, most)? { Ended::Separated } else { Ended::RoundsSpent };
            break;
        }
        if seeds >= most || enough(judge, best) {
            break;
        }
        // The last two go on until their runs are over.
        let keep = alive.len().div_ceil(2).max(2);
        gone.splice(0..0, alive.split_off(keep.min(alive.len())));
        seeds = (2 * seeds).min(most);
    }
    alive.extend(gone);
    Ok((alive, ended))
}

/// Whether a deployment is better than another one beyond doubt: by the interval of their differences, seed by seed.
fn separated(judge: &Judge<'_>, best: &Deployment, other: &Deployment) -> bool {
    let (slo, goal) = (judge.ground.task.slo, judge.ground.task.goal);
    let pairs = judge.outcomes(best).iter().zip(judge.outcomes(other));
    let differences: Vec<f64> = pairs.map(|(a, b)| value(goal, a, &slo) - value(goal, b, &slo)).collect();
    let interval = Interval::of(&differences);
    interval.mean > interval.half_width
}
