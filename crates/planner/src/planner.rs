//! From a task to its plan.

use std::collections::BTreeSet;

use crate::ground::Ground;
use crate::judge::Judge;
use crate::pools::{self, Curve};
use crate::search::{self, Ended, Minimum};
use crate::space::Space;
use crate::task::MOST_GPUS;
use crate::work::Work;
use crate::{
    Alternative, Bounds, Deployment, Goal, Needed, Plan, PlanError, Role, RoleBounds, Searched, Task,
    Verdict, binding, program, why,
};

/// Under more accelerators than so many times the need, hardly any round waits: no more are looked at.
const PLENTY: f64 = 4.0;
/// Alternatives that are told, with as many accelerators as the plan and with others.
const SAME_SIZE: usize = 5;
const OTHER_SIZES: usize = 4;

/// Plans. Equal tasks give equal plans, bit for bit.
///
/// # Errors
/// When the task cannot be: bounds that contradict each other, profiles that are missing, numbers out of range, an empty
/// workload. Objectives that cannot be met are no error but the plan's [`Verdict`].
pub fn plan(task: &Task) -> Result<Plan, PlanError> {
    task.check()?;
    let ground = Ground::of(task)?;
    let Bounds { least_gpus, most_gpus, prefill, decode } = &task.bounds;
    let space = Space::of(&ground, prefill, decode);
    space.check(*least_gpus, *most_gpus)?;
    let curves = curves(&ground)?;
    let works = pools::sustained(&ground.works, &curves);
    let (answer, seed) = program::answers(&ground, &curves, task.goal)?;
    let gpus = plenty(&ground, &space, *least_gpus).min(*most_gpus);
    let mut judge = Judge::new(&ground);
    let seed = seed.as_ref();
    let (chosen, ended, found) = match task.goal {
        Goal::MinimumGpus => match search::minimum(&mut judge, &space, &works, seed, (*least_gpus, gpus))? {
            Minimum::Found(deployment, ended) => (Some(deployment), ended, true),
            Minimum::None(best, ended) => (best, ended, false),
        },
        Goal::BestAttainment | Goal::Balanced => {
            let (ranked, ended) = search::best(&mut judge, &space, &works, seed, gpus)?;
            (ranked.first().copied(), ended, false)
        }
    };
    let none = PlanError::TooFewGpus { gpus: *most_gpus, least: space.range().0 };
    let Some((deployment, predicted)) = chosen.and_then(|d| Some((d, judge.prediction(&d)?))) else {
        return Err(none);
    };
    let meets = found || predicted.attainment.mean >= task.target;
    let alternatives = alternatives(&judge, &deployment);
    let verdict = if meets {
        Verdict::Meets
    } else {
        Verdict::Infeasible { needed: needed(&mut judge, &works, &deployment)? }
    };
    let mut plan = Plan {
        goal: task.goal,
        deployment,
        gpus: deployment.gpus(),
        binding: binding::of(&ground, &deployment, &predicted, &alternatives, meets),
        predicted,
        target: task.target,
        verdict,
        alternatives,
        program: answer,
        why: Vec::new(),
        searched: searched(&judge, ended),
    };
    plan.why = why::sentences(&plan, &task.slo);
    Ok(plan)
}

fn searched(judge: &Judge<'_>, ended: Ended) -> Searched {
    let task = judge.ground.task;
    Searched {
        deployments: judge.all().count(),
        runs: judge.runs,
        rounds: judge.spent,
        ended,
        parts: judge.ground.block,
        effort: task.effort,
        seed: task.seed,
    }
}

fn curves(ground: &Ground<'_>) -> Result<Vec<Curve>, PlanError> {
    let pools = ground.prefill.iter().map(|degree| (Role::Prefill, *degree));
    let pools = pools.chain(ground.decode.iter().map(|degree| (Role::Decode, *degree)));
    pools.filter_map(|(role, degree)| Curve::of(ground, role, degree).transpose()).collect()
}

/// Accelerators under which hardly any round waits.
fn plenty(ground: &Ground<'_>, space: &Space<'_>, least_gpus: u32) -> u32 {
    let largest = ground.prefill.iter().chain(&ground.decode).copied().max().unwrap_or(1);
    let rounded = (PLENTY * ground.need()).ceil().min(f64::from(MOST_GPUS)) as u32;
    let smallest = u32::try_from(space.range().0).unwrap_or(u32::MAX);
    let least = smallest.saturating_add(largest.saturating_mul(4 * ground.block));
    rounded.max(least).max(least_gpus).min(MOST_GPUS)
}

/// What would meet objectives that no deployment within the bounds meets: looked for without the upper bounds.
fn needed(judge: &mut Judge<'_>, works: &[Work], best: &Deployment) -> Result<Needed, PlanError> {
    let ground = judge.ground;
    let free = |of: &RoleBounds| RoleBounds { most: MOST_GPUS, ..of.clone() };
    let (prefill, decode) = (free(&ground.task.bounds.prefill), free(&ground.task.bounds.decode));
    let space = Space::of(ground, &prefill, &decode);
    let from = u32::try_from(best.gpus()).unwrap_or(MOST_GPUS).min(MOST_GPUS);
    let most = plenty(ground, &space, from);
    Ok(match search::minimum(judge, &space, works, Some(best), (from, most))? {
        Minimum::Found(deployment, _) => match judge.prediction(&deployment) {
            Some(predicted) => Needed::Deployment { deployment, gpus: deployment.gpus(), predicted },
            None => Needed::Unknown,
        },
        Minimum::None(_, Ended::RoundsSpent) => Needed::Unknown,
        Minimum::None(best, _) => {
            let known = best.and_then(|deployment| Some((deployment, judge.prediction(&deployment)?)));
            known.map_or(Needed::Unknown, |(deployment, predicted)| Needed::OtherObjectives {
                attainment: predicted.attainment.mean,
                gpus: deployment.gpus(),
            })
        }
    })
}

/// The other deployments that were run: the best with as many accelerators, and the best of each other number, the nearest
/// numbers first. The best one without prefill workers, or with some, is told in any case: it says what disaggregation is
/// worth.
fn alternatives(judge: &Judge<'_>, chosen: &Deployment) -> Vec<Alternative> {
    let mut others: Vec<Deployment> =
        judge.all().filter(|deployment| *deployment != chosen).copied().collect();
    others.sort_by(|a, b| search::compare(judge, a, b));
    let (same, mut sizes): (Vec<Deployment>, Vec<Deployment>) =
        others.iter().partition(|deployment| deployment.gpus() == chosen.gpus());
    let mut seen = BTreeSet::new();
    sizes.retain(|deployment| seen.insert(deployment.gpus()));
    sizes.sort_by_key(|deployment| deployment.gpus().abs_diff(chosen.gpus()));
    let mut told: Vec<Deployment> = same.into_iter().take(SAME_SIZE).collect();
    told.extend(sizes.into_iter().take(OTHER_SIZES));
    let kind = |deployment: &&Deployment| deployment.is_aggregated() != chosen.is_aggregated();
    if let Some(other) = others.iter().find(kind)
        && !told.iter().any(|deployment| kind(&deployment))
    {
        told.push(*other);
    }
    let alternative = |deployment: Deployment| {
        let predicted = judge.prediction(&deployment)?;
        Some(Alternative { deployment, gpus: deployment.gpus(), predicted })
    };
    told.into_iter().filter_map(alternative).collect()
}
