//! What binds a plan.

use crate::ground::Ground;
use crate::{Alternative, Binding, Deployment, Limit, Objective, Prediction, Task};

/// What binds: of a plan that meets its objectives, what would be missed on fewer accelerators, as far as that was run.
pub(crate) fn of(
    ground: &Ground<'_>,
    deployment: &Deployment,
    predicted: &Prediction,
    alternatives: &[Alternative],
    meets: bool,
) -> Binding {
    let smaller = alternatives.iter().filter(|alternative| alternative.gpus < deployment.gpus());
    let smaller = smaller.max_by(|a, b| {
        let attained = |alternative: &Alternative| alternative.predicted.attainment.mean;
        attained(a).total_cmp(&attained(b))
    });
    let missing = match smaller {
        Some(smaller) if meets => &smaller.predicted,
        _ => predicted,
    };
    let limit = if meets { None } else { limit(ground.task, deployment) };
    Binding { objective: objective(ground, deployment, missing), limit }
}

/// What most rounds miss that miss any. Of refused ones nobody knows: where they are the most, that objective counts that the
/// others, or a lone round, are nearer to.
fn objective(ground: &Ground<'_>, deployment: &Deployment, predicted: &Prediction) -> Objective {
    let (misses, slo) = (predicted.misses, ground.task.slo);
    let ttft = if misses.refused > misses.ttft + misses.itl || misses.ttft == misses.itl {
        let (ttft_s, itl_s) = ground.alone(deployment);
        predicted.ttft_p95_s.max(ttft_s) / slo.ttft_s >= predicted.itl_p95_s.max(itl_s) / slo.itl_s
    } else {
        misses.ttft > misses.itl
    };
    if ttft { Objective::Ttft } else { Objective::Itl }
}

/// What keeps a deployment from growing.
fn limit(task: &Task, deployment: &Deployment) -> Option<Limit> {
    let bounds = &task.bounds;
    let left = u64::from(bounds.most_gpus).saturating_sub(deployment.gpus());
    let least = |degrees: &[u32]| {
        task.workers.iter().map(|profile| profile.theta).filter(|theta| degrees.contains(theta)).min()
    };
    let fits = |degrees: &[u32]| least(degrees).is_some_and(|degree| left >= u64::from(degree));
    if deployment.decode.replicas >= bounds.decode.most && fits(&bounds.decode.degrees) {
        return Some(Limit::DecodeReplicas);
    }
    if deployment.prefill.replicas >= bounds.prefill.most && fits(&bounds.prefill.degrees) {
        return Some(Limit::PrefillReplicas);
    }
    let full = !fits(&bounds.decode.degrees) && !fits(&bounds.prefill.degrees);
    full.then_some(Limit::Budget)
}
