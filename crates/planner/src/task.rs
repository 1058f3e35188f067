//! What is to be planned.

use ampd_scheduler::Slo;
use ampd_simulator::cluster::Policies;
use serde::Serialize;

use crate::error::number;
use crate::{PlanError, Role, WorkerProfile, WorkloadModel, workers};

/// What a plan is to be best at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// The fewest accelerators with which enough rounds meet their objectives.
    #[default]
    MinimumGpus,
    /// The most rounds that meet their objectives, under the budget.
    BestAttainment,
    /// The paper's: the least Z under the budget, the larger of the P95 of TTFT and of ITL as shares of their objectives.
    Balanced,
}

/// Bounds on the workers of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleBounds {
    /// At least so many.
    pub least: u32,
    /// Never more.
    pub most: u32,
    /// The degrees that they may have.
    pub degrees: Vec<u32>,
}

/// Bounds on a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Accelerators: at least.
    pub least_gpus: u32,
    /// Accelerators: never more, the budget.
    pub most_gpus: u32,
    /// The prefill workers.
    pub prefill: RoleBounds,
    /// The decode workers.
    pub decode: RoleBounds,
}

impl Bounds {
    /// Nothing is bounded but the budget; both roles may have any of these degrees.
    #[must_use]
    pub fn budget(gpus: u32, degrees: &[u32]) -> Self {
        let role = |least| RoleBounds { least, most: MOST_GPUS, degrees: degrees.to_vec() };
        Self { least_gpus: 0, most_gpus: gpus, prefill: role(0), decode: role(1) }
    }
}

/// How much is simulated. Rounds are counted, and not seconds, so that a plan does not depend on the machine that makes
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Effort {
    /// Rounds of all runs together, at most.
    pub rounds: u64,
    /// Rounds that are measured of a run that compares candidates, at least; more where sessions are long.
    pub run_rounds: u32,
    /// Simulated seconds that are measured of a run that decides, at least: near capacity queues grow slowly, and short
    /// runs flatter.
    pub deciding_s: u32,
    /// Runs that decide, each with another seed, of each deployment.
    pub seeds: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { rounds: 2_000_000, run_rounds: 1500, deciding_s: 120, seeds: 3 }
    }
}

/// What is to be planned.
#[derive(Debug, Clone)]
pub struct Task {
    /// What comes.
    pub workload: WorkloadModel,
    /// The worker types that there are.
    pub workers: Vec<WorkerProfile>,
    /// The objectives.
    pub slo: Slo,
    /// Share of rounds that are to meet them.
    pub target: f64,
    /// What the plan is to be best at.
    pub goal: Goal,
    /// What it may be.
    pub bounds: Bounds,
    /// Who decides in the service that is planned.
    pub policies: Policies,
    /// How much is simulated.
    pub effort: Effort,
    /// Seed of sessions, arrivals and noise.
    pub seed: u64,
}

/// Accelerators that a service may have at most, as in the `AMPDService` resource.
pub const MOST_GPUS: u32 = 65_536;
/// Seeds that are worth while.
const MOST_SEEDS: u32 = 64;

impl Task {
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        self.workload.check()?;
        workers::check(&self.workers)?;
        let Self { slo, bounds, effort, .. } = self;
        number("slo.ttft", slo.ttft_s, slo.ttft_s > 0.0, "a positive number of seconds")?;
        number("slo.itl", slo.itl_s, slo.itl_s > 0.0, "a positive number of seconds")?;
        number("slo.target", self.target, self.target > 0.0 && self.target <= 1.0, "above 0, at most 1")?;
        let gpus = f64::from(bounds.most_gpus);
        let good = (1..=MOST_GPUS).contains(&bounds.most_gpus);
        number("the budget of accelerators", gpus, good, "from 1 to 65536")?;
        let rounds = f64::from(effort.run_rounds);
        number("effort.run_rounds", rounds, (1..=1_000_000).contains(&effort.run_rounds), "from 1 to 1e6")?;
        let seconds = f64::from(effort.deciding_s);
        number("effort.deciding_s", seconds, (1..=100_000).contains(&effort.deciding_s), "from 1 to 1e5")?;
        let good = (1..=MOST_SEEDS).contains(&effort.seeds);
        number("effort.seeds", f64::from(effort.seeds), good, "from 1 to 64")?;
        if bounds.least_gpus > bounds.most_gpus {
            let (least, most) = (bounds.least_gpus, bounds.most_gpus);
            return Err(PlanError::Bounds { field: "the number of accelerators", least, most });
        }
        for (role, field, of) in [
            (Role::Prefill, "the number of prefill workers", &bounds.prefill),
            (Role::Decode, "the number of decode workers", &bounds.decode),
        ] {
            let least = if role == Role::Decode { of.least.max(1) } else { of.least };
            if least > of.most {
                return Err(PlanError::Bounds { field, least, most: of.most });
            }
            if !self.workers.iter().any(|profile| of.degrees.contains(&profile.theta)) {
                return Err(PlanError::NoDegree {
                    role,
                    allowed: list(of.degrees.iter().copied()),
                    known: list(self.workers.iter().map(|profile| profile.theta)),
                });
            }
        }
        Ok(())
    }
}

fn list(degrees: impl Iterator<Item = u32>) -> String {
    let texts: Vec<String> = degrees.map(|degree| degree.to_string()).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}
