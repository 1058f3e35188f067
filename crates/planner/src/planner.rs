//! From a task to its plan.

use crate::alternatives::alternatives;
use crate::ground::Ground;
use crate::judge::Judge;
use crate::needed::{needed, plenty};
use crate::pools::{self, Curve};
use crate::search::{self, Ended, Minimum};
use crate::space::Space;
use crate::{Bounds, Goal, Plan, PlanError, Role, Searched, Task, Verdict, binding, program, why};

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
    let mut searched = searched(&judge, ended);
    let verdict = if meets {
        Verdict::Meets
    } else {
        Verdict::Infeasible { needed: needed(task, &works, &deployment, &mut searched)? }
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
        searched,
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
