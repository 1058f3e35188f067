//! What would meet objectives that cannot be met within the bounds.

use crate::ground::Ground;
use crate::judge::Judge;
use crate::search::{self, Ended, Minimum};
use crate::space::Space;
use crate::task::MOST_GPUS;
use crate::work::Work;
use crate::{Bounds, Deployment, Effort, Needed, PlanError, RoleBounds, Searched, Task};

/// Under more accelerators than so many times the need, hardly any round waits: no more are looked at.
const PLENTY: f64 = 4.0;
/// Arithmetic may ask for so many times as many as are enough: it leaves out what a prefill beside decodes saves.
const BEYOND: f64 = 1.25;

/// What would meet objectives that no deployment within the bounds meets: looked for without the upper bounds, and so
/// perhaps in other parts. What it takes counts as `searched`.
pub(crate) fn needed(
    task: &Task,
    works: &[Work],
    best: &Deployment,
    searched: &mut Searched,
) -> Result<Needed, PlanError> {
    let free = |of: &RoleBounds| RoleBounds { most: MOST_GPUS, ..of.clone() };
    let (prefill, decode) = (free(&task.bounds.prefill), free(&task.bounds.decode));
    let bounds = Bounds { most_gpus: MOST_GPUS, prefill, decode, ..task.bounds };
    let left = task.effort.rounds.saturating_sub(searched.rounds);
    let task = Task { bounds, effort: Effort { rounds: left, ..task.effort }, ..task.clone() };
    let ground = Ground::of(&task)?;
    if ground.need() > BEYOND * f64::from(MOST_GPUS) {
        return Ok(Needed::TooMany { gpus: ground.need() });
    }
    let space = Space::of(&ground, &task.bounds.prefill, &task.bounds.decode);
    let from = u32::try_from(best.gpus()).unwrap_or(MOST_GPUS).min(MOST_GPUS);
    let most = plenty(&ground, &space, from);
    let mut judge = Judge::new(&ground);
    let found = search::minimum(&mut judge, &space, works, None, (from, most));
    searched.deployments += judge.all().count();
    searched.runs += judge.runs;
    searched.rounds += judge.spent;
    let known = |deployment: Option<Deployment>| {
        deployment.and_then(|found| Some((found, judge.prediction(&found)?)))
    };
    Ok(match found {
        Ok(Minimum::Found(deployment, _)) => {
            known(Some(deployment)).map_or(Needed::Unknown, |(deployment, predicted)| Needed::Deployment {
                deployment,
                gpus: deployment.gpus(),
                predicted,
            })
        }
        Ok(Minimum::None(_, Ended::RoundsSpent)) | Err(PlanError::TooLittleEffort { .. }) => Needed::Unknown,
        Ok(Minimum::None(best, _)) => known(best).map_or(Needed::Unknown, |(deployment, predicted)| {
            Needed::OtherObjectives { attainment: predicted.attainment.mean, gpus: deployment.gpus() }
        }),
        Err(error) => return Err(error),
    })
}

/// Accelerators under which hardly any round waits.
pub(crate) fn plenty(ground: &Ground<'_>, space: &Space<'_>, least_gpus: u32) -> u32 {
    let largest = ground.prefill.iter().chain(&ground.decode).copied().max().unwrap_or(1);
    let rounded = (PLENTY * ground.need()).ceil().min(f64::from(MOST_GPUS)) as u32;
    let smallest = u32::try_from(space.range().0).unwrap_or(u32::MAX);
    let least = smallest.saturating_add(largest.saturating_mul(4 * ground.block));
    rounded.max(least).max(least_gpus).min(MOST_GPUS)
}
