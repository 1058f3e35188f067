//! The latency of a pool as a function of its share of the load, by simulation: the paper's `tau`.

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment};
use ampd_simulator::cluster::{Cluster, Policies};
use ampd_simulator::truth::{Corrections, Truth};
use ampd_simulator::{Setup, WorkerType, simulate};

use crate::ground::{Ground, Times};
use crate::prediction::Outcome;
use crate::work::Work;
use crate::{PlanError, Role, WorkerProfile};

/// Loads that are simulated, as shares of what a worker can do at most.
const LOADS: [f64; 3] = [0.5, 0.75, 0.95];
/// Workers of the pool that is simulated.
const REPLICAS: u32 = 2;
/// Rounds of a run that are measured.
const ROUNDS: f64 = 400.0;
/// A latency of so many objectives stands for any longer one.
const MOST_SHARE: f64 = 100.0;

/// How late a pool is under load. As in the paper each pool is looked at alone: every prefill is remote, and the other
/// role is a worker that is always in time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    pub role: Role,
    pub degree: u32,
    /// Sessions a second that one worker can serve at most, by fluid arithmetic.
    pub rate: f64,
    /// Loads, as shares of that, with the P95 of TTFT or of ITL as shares of their objectives.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// Simulates the pool of a worker type.
    pub(crate) fn of(ground: &Ground<'_>, role: Role, degree: u32) -> Result<Option<Self>, PlanError> {
        let (Some(profile), Some(work)) = (ground.profile(degree), ground.work(degree)) else {
            return Ok(None);
        };
        let rate = 1.0 / if role == Role::Prefill { work.prefill_s } else { work.decode_s };
        let points = LOADS.map(|load| Ok((load, share(ground, profile, role, load * rate)?)));
        let mut points = points.into_iter().collect::<Result<Vec<_>, PlanError>>()?;
        // More load is never less late; where a short run says so, it is noise.
        for place in 1..points.len() {
            points[place].1 = points[place].1.max(points[place - 1].1);
        }
        Ok(Some(Self { role, degree, rate, points }))
    }

    /// The P95 at a load as a share of its objective: linear between the loads that were simulated, and as at the lowest
    /// one below it.
    pub(crate) fn at(&self, load: f64) -> f64 {
        let mut before = (0.0, self.points.first().map_or(0.0, |(_, share)| *share));
        for &(at, share) in &self.points {
            if load <= at {
                return before.1 + (share - before.1) * (load - before.0) / (at - before.0);
            }
            before = (at, share);
        }
        before.1
    }

    /// The highest load at which the P95 is within its objective; half the lowest simulated one where there is none.
    pub(crate) fn sustained(&self) -> f64 {
        let levels = (1..=20).rev().map(|twentieth| f64::from(twentieth) / 20.0);
        let lowest = LOADS[0] / 2.0;
        levels
            .filter(|load| *load <= LOADS[LOADS.len() - 1])
            .find(|load| self.at(*load) <= 1.0)
            .map_or(lowest, |load| load.max(lowest))
    }
}

/// The types' works where each worker has no more load than it sustains.
pub(crate) fn sustained(works: &[Work], curves: &[Curve]) -> Vec<Work> {
    let of = |role, degree| {
        let curve = curves.iter().find(|curve| curve.role == role && curve.degree == degree);
        curve.map_or(1.0, Curve::sustained)
    };
    let work = |work: &Work| Work {
        prefill_s: work.prefill_s / of(Role::Prefill, work.degree),
        decode_s: work.decode_s / of(Role::Decode, work.degree),
        ..*work
    };
    works.iter().map(work).collect()
}

/// The P95 of a pool whose workers each get so many sessions a second, as a share of its objective.
fn share(ground: &Ground<'_>, profile: &WorkerProfile, role: Role, rate: f64) -> Result<f64, PlanError> {
    let (slo, rate) = (ground.task.slo, rate * f64::from(REPLICAS));
    let Times { span, end_s } = ground.comparing(rate, ROUNDS);
    let trace = ground.trace(rate, end_s, ground.task.seed)?;
    let ideal = ideal(profile, slo.itl_s);
    let ideal_truth = Truth::from_model(ideal.clone(), Corrections::NONE)
        .map_err(ampd_simulator::evaluate::EvaluateError::from)?;
    let real =
        WorkerType { truth: &profile.truth, model: &profile.perf, kv_tokens: profile.cluster.kv_tokens };
    let other = WorkerType { truth: &ideal_truth, model: &ideal, kv_tokens: 1 << 40 };
    let (prefill, decode) = if role == Role::Prefill { (real, other) } else { (other, real) };
    let mut engine = profile.cluster.engine;
    if role == Role::Prefill {
        // The one decode worker takes whatever comes.
        (engine.max_running, engine.token_budget) = (1 << 20, 1 << 24);
    }
    let workers = |of: Role| if of == role { REPLICAS } else { 1 };
    let cluster = Cluster {
        prefill_workers: workers(Role::Prefill),
        decode_workers: workers(Role::Decode),
        workers_per_node: REPLICAS + 1,
        kv_tokens: decode.kv_tokens,
        engine,
        ..profile.cluster
    };
    let run = simulate(&Setup {
        cluster: &cluster,
        policies: &Policies::always_remote(),
        truth: decode.truth,
        model: decode.model,
        prefill: Some(prefill),
        slo,
        trace: &trace,
        faults: &[],
        seed: ground.task.seed,
        until_s: end_s,
    })?;
    let outcome = Outcome::of(&run, &slo, span, 1.0);
    let share = match role {
        Role::Prefill => outcome.ttft_p95_s / slo.ttft_s,
        Role::Decode => outcome.itl_p95_s / slo.itl_s,
    };
    Ok(share.min(MOST_SHARE))
}

/// A worker that prefills at once and whose decode steps take half the objective, whatever is in them.
fn ideal(profile: &WorkerProfile, itl_s: f64) -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 1e-4, k1: 0.0, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: itl_s / 2.0, k1: 0.0, k2: 0.0 }],
        transfer: profile.perf.transfer,
    }
}
