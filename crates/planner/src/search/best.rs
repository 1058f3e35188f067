//! The best deployment under a budget.

use super::halving::{Ended, decide, halve};
use crate::judge::Judge;
use crate::space::Space;
use crate::work::Work;
use crate::{Deployment, PlanError};

/// Candidates by arithmetic, besides those of the program.
const CANDIDATES: usize = 10;
/// Of which so many have the runs that decide.
const DECIDING: usize = 3;

/// The deployments that were compared, best first. `seed` is the program's answer, whose neighbours are candidates too.
pub(crate) fn best(
    judge: &mut Judge<'_>,
    space: &Space<'_>,
    works: &[Work],
    seed: Option<&Deployment>,
    gpus: u32,
) -> Result<(Vec<Deployment>, Ended), PlanError> {
    let mut candidates = space.best(gpus, works, CANDIDATES);
    candidates.extend(seed.into_iter().flat_map(|seed| space.neighbours(seed, gpus)));
    let (mut ranked, enough) = halve(judge, &candidates)?;
    let ended = if enough { decide(judge, &mut ranked, DECIDING)? } else { Ended::RoundsSpent };
    Ok((ranked, ended))
}
