//! From candidates to the best of them.

mod best;
mod halving;
mod minimum;

pub(crate) use best::best;
pub use halving::Ended;
pub(crate) use minimum::{Minimum, minimum};

use std::collections::BTreeMap;

use ampd_scheduler::Slo;

use crate::judge::Judge;
use crate::prediction::Outcome;
use crate::{Deployment, Goal};

/// How much a run is worth: more is better.
pub(crate) fn value(goal: Goal, outcome: &Outcome, slo: &Slo) -> f64 {
    match goal {
        Goal::MinimumGpus | Goal::BestAttainment => outcome.attainment,
        // Where some are refused so that Z says nothing, attainment does.
        Goal::Balanced => -outcome.z(slo).min(WORST_Z) + outcome.attainment,
    }
}

/// Whatever Z is above this, it is as bad.
const WORST_Z: f64 = 1e3;

/// Puts deployments in order, the best first: by the mean value of their outcomes, then by accelerators, then by latency.
/// Each has a place by itself and not by what it is compared with: those that were run more often than others would
/// otherwise be in no order at all.
pub(crate) fn rank<'j>(
    judge: &'j Judge<'_>,
    deployments: &mut [Deployment],
    outcomes: impl Fn(&Deployment) -> &'j [Outcome],
) {
    let (slo, goal) = (judge.ground.task.slo, judge.ground.task.goal);
    let key = |deployment: &Deployment| {
        let outcomes = outcomes(deployment);
        let count = outcomes.len().max(1) as f64;
        let worth = outcomes.iter().map(|outcome| value(goal, outcome, &slo)).sum::<f64>() / count;
        let late = outcomes.iter().map(|outcome| outcome.z(&slo)).sum::<f64>() / count;
        (worth, late)
    };
    let keys: BTreeMap<Deployment, (f64, f64)> = deployments.iter().map(|of| (*of, key(of))).collect();
    let place = |of: &Deployment| keys.get(of).copied().unwrap_or_default();
    deployments.sort_by(|a, b| {
        let ((a_worth, a_late), (b_worth, b_late)) = (place(a), place(b));
        b_worth
            .total_cmp(&a_worth)
            .then(a.gpus().cmp(&b.gpus()))
            .then(a_late.total_cmp(&b_late))
            .then(a.cmp(b))
    });
}
