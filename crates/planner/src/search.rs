//! From candidates to the best of them.

mod best;
mod halving;
mod minimum;

pub(crate) use best::best;
pub use halving::Ended;
pub(crate) use minimum::{Minimum, minimum};

use std::cmp::Ordering;

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

/// Orders deployments that have been run, the better one first: by their mean value over the seeds that both have, then by
/// accelerators, then by latency.
pub(crate) fn compare(judge: &Judge<'_>, a: &Deployment, b: &Deployment) -> Ordering {
    let (slo, goal) = (judge.ground.task.slo, judge.ground.task.goal);
    let sums = |of: &dyn Fn(&Outcome) -> f64| {
        judge.pairs(a, b).fold((0.0, 0.0), |sums, (a, b)| (sums.0 + of(a), sums.1 + of(b)))
    };
    let worth = sums(&|outcome| value(goal, outcome, &slo));
    let late = sums(&|outcome| outcome.z(&slo));
    worth.1.total_cmp(&worth.0).then(a.gpus().cmp(&b.gpus())).then(late.0.total_cmp(&late.1)).then(a.cmp(b))
}
