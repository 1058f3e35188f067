//! Every deployment in the simulator: exact and slow, for small budgets.

use crate::ground::Ground;
use crate::judge::{Judge, Purpose};
use crate::space::Space;
use crate::{Alternative, Bounds, PlanError, Task};

/// More deployments than so many are not all simulated.
const MOST: usize = 2000;

/// All deployments within the bounds that no decode worker could be added to, each with all runs that decide,
/// whatever rounds that takes; by rising accelerators, of equal ones the better first. What plans are measured by.
///
/// # Errors
/// As [`crate::plan`]; also when there are too many deployments.
pub fn exhaustive(task: &Task) -> Result<Vec<Alternative>, PlanError> {
    let task = &Task { effort: crate::Effort { rounds: u64::MAX, ..task.effort }, ..task.clone() };
    task.check()?;
    let ground = Ground::of(task)?;
    let Bounds { least_gpus, most_gpus, prefill, decode } = &task.bounds;
    let space = Space::of(&ground, prefill, decode);
    space.check(*least_gpus, *most_gpus)?;
    let mut deployments = Vec::new();
    let mut gpus = u32::try_from(space.range().0).unwrap_or(u32::MAX).max(*least_gpus);
    while gpus <= *most_gpus {
        deployments.extend(space.under(gpus).into_iter().filter(|d| d.gpus() >= u64::from(*least_gpus)));
        if deployments.len() > 100 * MOST {
            break;
        }
        gpus = gpus.saturating_add(space.step());
    }
    deployments.sort_unstable();
    deployments.dedup();
    if deployments.len() > MOST {
        return Err(PlanError::TooManyDeployments { count: deployments.len(), most: MOST });
    }
    let mut judge = Judge::new(&ground);
    let mut all = Vec::with_capacity(deployments.len());
    for deployment in deployments {
        judge.run(&deployment, Purpose::Deciding, task.effort.seeds as usize)?;
        if let Some(predicted) = judge.prediction(&deployment) {
            all.push(Alternative { deployment, gpus: deployment.gpus(), predicted });
        }
    }
    let attained = |alternative: &Alternative| alternative.predicted.attainment.mean;
    all.sort_by(|a, b| {
        a.gpus.cmp(&b.gpus).then(attained(b).total_cmp(&attained(a))).then(a.deployment.cmp(&b.deployment))
    });
    Ok(all)
}
