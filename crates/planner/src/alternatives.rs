//! The runners-up.

use std::collections::BTreeSet;

use crate::judge::Judge;
use crate::{Alternative, Deployment, search};

/// Alternatives that are told, with as many accelerators as the plan and with others.
const SAME_SIZE: usize = 5;
const OTHER_SIZES: usize = 4;

/// The other deployments that were run: the best with as many accelerators, and the best of each other number, the nearest
/// numbers first. The best one without prefill workers, or with some, is told in any case: it says what disaggregation is
/// worth.
pub(crate) fn alternatives(judge: &Judge<'_>, chosen: &Deployment) -> Vec<Alternative> {
    let mut others: Vec<Deployment> =
        judge.all().filter(|deployment| *deployment != chosen).copied().collect();
    search::rank(judge, &mut others, |of| judge.told(of));
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
