//! The paper's integer program, in full.

use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution as _, SolverModel as _, Variable,
    WithMipGap as _, constraint, microlp, variable,
};
use serde::Serialize;

use crate::ground::Ground;
use crate::pools::Curve;
use crate::{Bounds, Deployment, Goal, PlanError, Pool, Role};

/// Loads that a pool's workers may have, in shares of what they can do at most.
const LEVELS: [f64; 6] = [0.25, 0.4, 0.55, 0.7, 0.82, 0.95];
/// What all accelerators of the largest budget weigh beside Z: only where all else is equal.
const TIE: f64 = 1e-3;
/// How far from the best an answer may be, of its value: below an accelerator where there are few of them. To prove the last
/// of it takes the solver many times as long, and the simulator decides in any case.
const GAP: f32 = 0.02;

/// Whether the workers of a role may have different degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Degrees {
    /// All the same.
    One,
    /// Any, as in the paper.
    Mixed,
}

/// What the paper's program answers. It knows nothing of local prefills: its pools are independent of each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramAnswer {
    /// The prefill workers, by degree.
    pub prefill: Vec<Pool>,
    /// The decode workers, by degree.
    pub decode: Vec<Pool>,
    /// The worst used worker type's P95 as a share of its objective.
    pub z: f64,
}

impl ProgramAnswer {
    /// Accelerators of all workers.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        self.prefill.iter().chain(&self.decode).map(Pool::gpus).sum()
    }

    /// The deployment, where each role has one degree.
    #[must_use]
    pub fn deployment(&self) -> Option<Deployment> {
        match (self.prefill.as_slice(), self.decode.as_slice()) {
            ([prefill], [decode]) => Some(Deployment { prefill: *prefill, decode: *decode }),
            _ => None,
        }
    }
}

/// A worker type at one load.
struct Level {
    role: Role,
    degree: u32,
    /// Share of all sessions that a part serves at it.
    rate: f64,
    /// P95 as a share of its objective.
    share: f64,
    /// Parts, `x` and `y` of the paper.
    count: Variable,
    /// Whether there are any.
    used: Variable,
}

/// The paper's answer, and the deployment with one degree a role that comes nearest to it: the simulator knows no other.
pub(crate) fn answers(
    ground: &Ground<'_>,
    curves: &[Curve],
    goal: Goal,
) -> Result<(Option<ProgramAnswer>, Option<Deployment>), PlanError> {
    let mixed = solve(ground, curves, goal, Degrees::Mixed)?;
    let one = match mixed.as_ref().map(ProgramAnswer::deployment) {
        None => None,
        Some(Some(deployment)) => Some(deployment),
        Some(None) => solve(ground, curves, goal, Degrees::One)?.and_then(|answer| answer.deployment()),
    };
    Ok((mixed, one))
}

/// Solves it; `None` where no deployment within the bounds serves the load.
pub(crate) fn solve(
    ground: &Ground<'_>,
    curves: &[Curve],
    goal: Goal,
    degrees: Degrees,
) -> Result<Option<ProgramAnswer>, PlanError> {
    let mut variables = ProblemVariables::new();
    let most = most_parts(ground, curves);
    let may = |share: f64| goal != Goal::MinimumGpus || share <= 1.0;
    let levels: Vec<Level> = curves
        .iter()
        .flat_map(|curve| LEVELS.map(|load| (curve, load)))
        .map(|(curve, load)| Level {
            role: curve.role,
            degree: curve.degree,
            rate: load * curve.rate * f64::from(ground.block) / ground.rate(),
            share: curve.at(load),
            // Z is at most 1 where accelerators are to be few: what would put it above cannot be used.
            count: variables.add(variable().integer().min(0).max(if may(curve.at(load)) {
                most
            } else {
                0.0
            })),
            used: variables.add(variable().binary()),
        })
        .collect();
    let z = variables.add(variable().min(0.0));
    let gpus: Expression = levels.iter().map(|level| accelerators(ground, level) * level.count).sum();
    let objective = match goal {
        Goal::MinimumGpus => gpus.clone(),
        Goal::BestAttainment | Goal::Balanced => z + TIE / f64::from(crate::MOST_GPUS) * gpus.clone(),
    };
    let mut model = variables
        .minimise(objective)
        .using(microlp)
        .with_mip_gap(GAP)
        .map_err(|error| PlanError::Program(error.to_string()))?;
    model = model.with(constraint!(gpus <= f64::from(ground.task.bounds.most_gpus)));
    let highest = levels.iter().map(|level| level.share).fold(1.0, f64::max);
    for level in &levels {
        // used = 1 where there are any, and none where it is 0.
        model = model.with(constraint!(level.count <= most * level.used));
        model = model.with(constraint!(level.count >= level.used));
        // Z is at least the latency of what is used; of what is not, big M takes the condition away.
        model = model.with(constraint!(z >= level.share - highest * (1.0 - level.used)));
    }
    for role in [Role::Prefill, Role::Decode] {
        let of = || levels.iter().filter(move |level| level.role == role);
        let served: Expression = of().map(|level| level.rate * level.count).sum();
        model = model.with(constraint!(served >= 1.0));
        let replicas: Expression = of().map(|level| f64::from(ground.block) * level.count).sum();
        let Bounds { prefill, decode, .. } = &ground.task.bounds;
        let bounds = if role == Role::Prefill { prefill } else { decode };
        model = model.with(constraint!(replicas.clone() <= f64::from(bounds.most)));
        model = model.with(constraint!(replicas >= f64::from(bounds.least)));
        // A pool's workers share its load evenly: they are all at one level.
        let mut kinds: Vec<u32> = of().map(|level| level.degree).collect();
        kinds.dedup();
        for degree in kinds {
            let used: Expression = of().filter(|level| level.degree == degree).map(|level| level.used).sum();
            model = model.with(constraint!(used <= 1.0));
        }
        if degrees == Degrees::One {
            let used: Expression = of().map(|level| level.used).sum();
            model = model.with(constraint!(used <= 1.0));
        }
    }
    let solution = match model.solve() {
        Ok(solution) => solution,
        Err(ResolutionError::Infeasible) => return Ok(None),
        Err(error) => return Err(PlanError::Program(error.to_string())),
    };
    let pools = |role: Role| {
        let used = levels.iter().filter(|level| level.role == role).filter_map(|level| {
            let parts = solution.value(level.count).round() as u32;
            let replicas = parts.saturating_mul(ground.block);
            (parts > 0).then_some(Pool { replicas, degree: level.degree })
        });
        used.collect::<Vec<_>>()
    };
    Ok(Some(ProgramAnswer {
        prefill: pools(Role::Prefill),
        decode: pools(Role::Decode),
        z: solution.value(z),
    }))
}

fn accelerators(ground: &Ground<'_>, level: &Level) -> f64 {
    f64::from(level.degree) * f64::from(ground.block)
}

/// Parts that a pool needs at most: those that serve all of the load at the lowest level.
fn most_parts(ground: &Ground<'_>, curves: &[Curve]) -> f64 {
    let needed = curves.iter().map(|curve| {
        let gpus = f64::from(ground.task.bounds.most_gpus) / f64::from(curve.degree);
        (ground.rate() / (LEVELS[0] * curve.rate)).min(gpus) / f64::from(ground.block)
    });
    needed.fold(1.0, f64::max).ceil()
}

#[cfg(test)]
mod tests;
