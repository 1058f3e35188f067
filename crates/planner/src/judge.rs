//! Deployments in the simulator, all under the same sessions.

use std::collections::BTreeMap;

use ampd_simulator::cluster::Cluster;
use ampd_simulator::trace::Trace;
use ampd_simulator::{Setup, WorkerType, simulate};

use crate::ground::{Ground, Times};
use crate::prediction::{Outcome, Prediction};
use crate::{Deployment, PlanError};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To compare candidates.
    Comparing,
    /// To decide, and to be told: longer, under other seeds, so that what won by luck does not keep it.
    Deciding,
}

/// The runs of a task; one that was made is not made again. Each seed gives all deployments the same sessions at the same
/// times.
pub(crate) struct Judge<'a> {
    pub ground: &'a Ground<'a>,
    /// Of runs that compare, and that decide.
    traces: [Vec<Sessions>; 2],
    known: BTreeMap<Deployment, [Vec<Outcome>; 2]>,
    /// Rounds simulated.
    pub spent: u64,
    /// Runs made.
    pub runs: u32,
}

/// What a seed gives.
struct Sessions {
    trace: Trace,
    rounds: u64,
}

/// Seeds of runs that decide are so far from those of runs that compare.
const APART: u64 = 0x1000;

impl<'a> Judge<'a> {
    pub(crate) fn new(ground: &'a Ground<'a>) -> Self {
        Self { ground, traces: [Vec::new(), Vec::new()], known: BTreeMap::new(), spent: 0, runs: 0 }
    }

    fn times(&self, purpose: Purpose) -> Times {
        let (rate, effort) = (self.ground.simulated_rate(), self.ground.task.effort);
        match purpose {
            Purpose::Comparing => self.ground.comparing(rate, f64::from(effort.run_rounds)),
            Purpose::Deciding => self.ground.deciding(rate),
        }
    }

    fn seed(&self, purpose: Purpose, place: usize) -> u64 {
        let apart = if purpose == Purpose::Deciding { APART } else { 0 };
        self.ground.task.seed.wrapping_add(apart).wrapping_add(place as u64)
    }

    /// Runs a deployment with the first so many seeds; whether the budget of rounds was enough for it.
    pub(crate) fn run(
        &mut self,
        deployment: &Deployment,
        purpose: Purpose,
        seeds: usize,
    ) -> Result<bool, PlanError> {
        let budget = self.ground.task.effort.rounds;
        let done = self.known.get(deployment).map_or(0, |known| known[purpose as usize].len());
        for place in done..seeds {
            let rounds = self.sessions(purpose, place)?;
            if self.spent.saturating_add(rounds) > budget {
                if self.spent == 0 {
                    return Err(PlanError::TooLittleEffort { rounds: budget, needed: rounds });
                }
                return Ok(false);
            }
            let outcome = self.simulated(deployment, purpose, place)?;
            self.known.entry(*deployment).or_default()[purpose as usize].push(outcome);
            self.spent += rounds;
            self.runs += 1;
        }
        Ok(true)
    }

    /// Has the sessions of a seed ready; their rounds.
    fn sessions(&mut self, purpose: Purpose, place: usize) -> Result<u64, PlanError> {
        while self.traces[purpose as usize].len() <= place {
            let seed = self.seed(purpose, self.traces[purpose as usize].len());
            let end_s = self.times(purpose).end_s;
            let trace = self.ground.trace(self.ground.simulated_rate(), end_s, seed)?;
            let rounds = trace.sessions.iter().map(|session| session.rounds.len() as u64).sum();
            self.traces[purpose as usize].push(Sessions { trace, rounds });
        }
        Ok(self.traces[purpose as usize][place].rounds)
    }

    fn simulated(
        &self,
        deployment: &Deployment,
        purpose: Purpose,
        place: usize,
    ) -> Result<Outcome, PlanError> {
        let (ground, Times { span, end_s }) = (self.ground, self.times(purpose));
        let missing = || PlanError::NoProfiles;
        let decode = ground.profile(deployment.decode.degree).ok_or_else(missing)?;
        let prefill = ground.profile(deployment.prefill.degree).ok_or_else(missing)?;
        let cluster = cluster(ground, deployment, decode);
        let other = (prefill.theta != decode.theta).then_some(WorkerType {
            truth: &prefill.truth,
            model: &prefill.perf,
            kv_tokens: prefill.cluster.kv_tokens,
        });
        let trace = &self.traces[purpose as usize][place].trace;
        let last_s = trace.sessions.iter().filter_map(|session| session.arrival_s).fold(0.0, f64::max);
        let setup = Setup {
            cluster: &cluster,
            policies: &ground.task.policies,
            truth: &decode.truth,
            model: &decode.perf,
            prefill: other,
            slo: ground.task.slo,
            trace,
            faults: &[],
            seed: self.seed(purpose, place),
            // What has not ended half a session after the measured span is late in any case.
            until_s: end_s.max(last_s + f64::MIN_POSITIVE),
        };
        let run = simulate(&setup)?;
        // A rate that was raised to be worth simulating is not what is served.
        let parts = ground.rate() / ground.simulated_rate();
        Ok(Outcome::of(&run, &ground.task.slo, span, parts))
    }

    /// What is to be expected of a deployment that has been run.
    pub(crate) fn prediction(&self, deployment: &Deployment) -> Option<Prediction> {
        let outcomes = self.told(deployment);
        let decided = !self.outcomes(deployment, Purpose::Deciding).is_empty();
        (!outcomes.is_empty()).then(|| Prediction::of(outcomes, decided, &self.ground.task.slo))
    }

    /// The outcomes of a deployment, seed by seed.
    pub(crate) fn outcomes(&self, deployment: &Deployment, purpose: Purpose) -> &[Outcome] {
        self.known.get(deployment).map_or(&[], |known| known[purpose as usize].as_slice())
    }

    /// The outcomes that are told of a deployment: of runs that decide, where it has any.
    pub(crate) fn told(&self, deployment: &Deployment) -> &[Outcome] {
        let decided = self.outcomes(deployment, Purpose::Deciding);
        if decided.is_empty() { self.outcomes(deployment, Purpose::Comparing) } else { decided }
    }

    /// All deployments that have been run.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Deployment> {
        self.known.keys()
    }
}

/// The simulated part of a deployment. Its workers fill nodes of as many accelerators as those that were measured.
fn cluster(ground: &Ground<'_>, deployment: &Deployment, of: &crate::WorkerProfile) -> Cluster {
    let part = |replicas: u32| if replicas == 0 { 0 } else { (replicas / ground.block).max(1) };
    let (prefill, decode) = (part(deployment.prefill.replicas), part(deployment.decode.replicas));
    let gpus = u64::from(prefill) * u64::from(deployment.prefill.degree)
        + u64::from(decode) * u64::from(deployment.decode.degree);
    let nodes = gpus.div_ceil(u64::from(of.node())).max(1);
    let workers = u64::from(prefill) + u64::from(decode);
    Cluster {
        prefill_workers: prefill,
        decode_workers: decode,
        workers_per_node: u32::try_from(workers.div_ceil(nodes)).unwrap_or(u32::MAX).max(1),
        ..of.cluster
    }
}
