//! The worker types that a plan may be made of.

use ampd_perfmodel::PerfModel;
use ampd_simulator::cluster::Cluster;
use ampd_simulator::evaluate::Card;
use ampd_simulator::truth::Truth;

use crate::PlanError;

/// A worker type: a model on so many accelerators of one kind, with what was measured of it.
#[derive(Debug, Clone)]
pub struct WorkerProfile {
    /// Its name in texts.
    pub name: String,
    /// The model that was measured: its digest, or its name where there is none.
    pub model: String,
    /// The accelerator that it was measured on.
    pub accelerator: String,
    /// Accelerators of a worker, its parallel degree.
    pub theta: u32,
    /// What schedulers know of its speed.
    pub perf: PerfModel,
    /// How long its steps take in the planner's simulations.
    pub truth: Truth,
    /// A deployment of such workers: their KV memory, engine, links and workers of a node. How many workers it has is not
    /// looked at.
    pub cluster: Cluster,
}

impl WorkerProfile {
    /// A worker type that the simulator has measurements of.
    ///
    /// # Errors
    /// When its table cannot be read.
    pub fn of_card(card: &Card) -> Result<Self, PlanError> {
        let truth = card.truth()?;
        let mut parts = card.name.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        Ok(Self {
            name: card.name.to_owned(),
            model: part(),
            accelerator: part(),
            theta: card.theta,
            perf: card.profile(&truth)?,
            truth,
            cluster: card.cluster(1, 1),
        })
    }

    /// Accelerators of a node.
    pub(crate) fn node(&self) -> u32 {
        self.cluster.workers_per_node.saturating_mul(self.theta).max(1)
    }
}

/// Checks that the profiles are of one model on one accelerator, each of another degree.
pub(crate) fn check(workers: &[WorkerProfile]) -> Result<(), PlanError> {
    let Some((first, others)) = workers.split_first() else { return Err(PlanError::NoProfiles) };
    for other in others {
        if other.model != first.model {
            return Err(PlanError::OtherModel {
                one: first.name.clone(),
                own: first.model.clone(),
                other: other.name.clone(),
                theirs: other.model.clone(),
            });
        }
        if other.accelerator != first.accelerator {
            return Err(PlanError::OtherAccelerator {
                one: first.name.clone(),
                own: first.accelerator.clone(),
                other: other.name.clone(),
                theirs: other.accelerator.clone(),
            });
        }
    }
    for (index, profile) in workers.iter().enumerate() {
        crate::error::number(
            "the degree of a profile",
            f64::from(profile.theta),
            (1..=MOST_DEGREE).contains(&profile.theta),
            "from 1 to 1024",
        )?;
        if workers[..index].iter().any(|other| other.theta == profile.theta) {
            return Err(PlanError::TwoProfiles(profile.theta));
        }
    }
    Ok(())
}

/// More accelerators than any worker has.
const MOST_DEGREE: u32 = 1024;
