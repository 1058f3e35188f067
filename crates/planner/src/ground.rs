//! What a task comes down to before anything is simulated.

use ampd_simulator::report::Span;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};
use ampd_simulator::workload::{Arrivals, Demand};

use crate::work::Work;
use crate::{Bounds, Deployment, PlanError, RoleBounds, Task, WorkerProfile};

/// Workers from which on a deployment is simulated in part.
const WHOLE: f64 = 24.0;
/// The same where sessions are long, so that runs have more rounds than are needed.
const WHOLE_LONG: f64 = 12.0;
/// Rounds of a run that are more than needed.
const MANY_ROUNDS: f64 = 8000.0;
/// Sessions from which a workload's sizes are taken.
const SAMPLE: f64 = 400.0;
/// Sessions a second in a simulation, at least: of fewer none would be measured in the time that is simulated.
const LEAST_RATE: f64 = 0.006;
/// Measuring ends after this, seconds, or a session's length.
const LONGEST_S: f64 = 5000.0;
/// Rounds of one run at most, with those that are not measured.
const MOST_ROUNDS: f64 = 50_000.0;

/// When a run measures, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub span: Span,
    pub end_s: f64,
}

/// What a task comes down to.
pub(crate) struct Ground<'a> {
    pub task: &'a Task,
    pub demand: Demand,
    /// Of each worker type, in the order of the task.
    pub works: Vec<Work>,
    /// The degrees that prefill workers may have.
    pub prefill: Vec<u32>,
    /// The degrees that decode workers may have: a session must fit their memory.
    pub decode: Vec<u32>,
    /// Tokens of the longest session that is simulated; longer ones are cut.
    limit: u64,
    /// See [`Self::session_s`], seconds.
    pub session_s: f64,
    /// Deployments are in so many equal parts, of which one is simulated under its share of the load.
    pub block: u32,
}

impl<'a> Ground<'a> {
    pub(crate) fn of(task: &'a Task) -> Result<Self, PlanError> {
        let context = task.workers.iter().map(|profile| profile.cluster.max_context).min().unwrap_or(0);
        let sample =
            task.workload.source.generate(&Arrivals::Poisson { rate: 1.0 }, SAMPLE, 99)?.cut(context);
        if sample.sessions.is_empty() {
            return Err(PlanError::NothingFits { context });
        }
        let longest = sample.sessions.iter().map(TraceSession::longest_context).max().unwrap_or(0);
        let may = |degrees: &[u32]| {
            let known = task.workers.iter().filter(|profile| degrees.contains(&profile.theta));
            known.map(|profile| (profile.theta, holds(profile))).collect::<Vec<_>>()
        };
        let decode = may(&task.bounds.decode.degrees);
        let most = decode.iter().map(|(_, tokens)| *tokens).max().unwrap_or(0);
        if most < longest {
            return Err(PlanError::TooLong { tokens: longest, kv_tokens: most });
        }
        let decode: Vec<(u32, u64)> = decode.into_iter().filter(|(_, tokens)| *tokens >= longest).collect();
        let least = decode.iter().map(|(_, tokens)| *tokens).min().unwrap_or(0);
        let demand = Demand::of(&sample);
        let works: Vec<Work> =
            task.workers.iter().map(|profile| Work::of(profile, &demand, task.slo.itl_s)).collect();
        let mut ground = Self {
            task,
            demand,
            works,
            prefill: may(&task.bounds.prefill.degrees).into_iter().map(|(degree, _)| degree).collect(),
            decode: decode.into_iter().map(|(degree, _)| degree).collect(),
            limit: context.min(least),
            session_s: 0.0,
            block: 1,
        };
        ground.session_s = ground.session_s(&sample);
        ground.block = ground.parts();
        Ok(ground)
    }

    /// Sessions a second, all of them.
    pub(crate) fn rate(&self) -> f64 {
        self.task.workload.arrivals.rate()
    }

    /// Sessions a second that the simulated part of a deployment gets.
    pub(crate) fn simulated_rate(&self) -> f64 {
        (self.rate() / f64::from(self.block)).max(LEAST_RATE)
    }

    /// The type of this degree.
    pub(crate) fn profile(&self, degree: u32) -> Option<&'a WorkerProfile> {
        self.task.workers.iter().find(|profile| profile.theta == degree)
    }

    pub(crate) fn work(&self, degree: u32) -> Option<&Work> {
        self.works.iter().find(|work| work.degree == degree)
    }

    /// Accelerators that would serve the load if work flowed like a fluid, at best; infinite where none can.
    pub(crate) fn need(&self) -> f64 {
        self.cheapest().map_or(f64::INFINITY, |(gpus, _)| gpus)
    }

    /// The length of the session that is alive at a moment, in the mean, while decode steps last as long as they may. Long
    /// ones count with their length: it takes until they end that a deployment has its full load.
    fn session_s(&self, sample: &Trace) -> f64 {
        let slo = self.task.slo;
        let step_s = self.decode.iter().filter_map(|degree| self.profile(*degree));
        let context = self.demand.context();
        let step_s = step_s.map(|profile| profile.truth.decode_s(1.0, context)).fold(0.0, f64::max);
        let step_s = slo.itl_s.min(2.0 * step_s);
        let round_s =
            |round: &TraceRound| round.gap_s + slo.ttft_s.min(1.0) / 3.0 + f64::from(round.output) * step_s;
        let lengths = sample.sessions.iter().map(|session| session.rounds.iter().map(round_s).sum::<f64>());
        let (sum, squares) = lengths.fold((0.0, 0.0), |(sum, squares), s| (sum + s, squares + s * s));
        if sum > 0.0 { (squares / sum).max(1e-3) } else { 1e-3 }
    }

    /// TTFT and ITL of a mean round that nothing else is served beside, seconds, on the faster role's prefills.
    pub(crate) fn alone(&self, deployment: &Deployment) -> (f64, f64) {
        let prefill_s = |degree: u32| {
            let tokens = self.demand.increments / self.demand.rounds;
            let pairs = self.demand.pairs / self.demand.rounds;
            self.profile(degree).map_or(0.0, |profile| profile.truth.prefill_s(tokens, pairs))
        };
        let context = self.demand.context();
        let itl_s = self.profile(deployment.decode.degree);
        let itl_s = itl_s.map_or(0.0, |profile| profile.truth.decode_s(1.0, context));
        (prefill_s(deployment.prefill.degree).min(prefill_s(deployment.decode.degree)), itl_s)
    }

    /// The accelerators and workers of the pair of degrees that takes the fewest, by fluid arithmetic.
    fn cheapest(&self) -> Option<(f64, f64)> {
        let pairs = self.prefill.iter().flat_map(|p| self.decode.iter().map(move |d| (*p, *d)));
        pairs
            .filter_map(|(p, d)| {
                let (prefills, decodes) =
                    (self.rate() * self.work(p)?.prefill_s, self.rate() * self.work(d)?.decode_s);
                Some((f64::from(p) * prefills + f64::from(d) * decodes, prefills + decodes))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn parts(&self) -> u32 {
        let Some((gpus, workers)) = self.cheapest() else { return 1 };
        let Bounds { prefill, decode, .. } = &self.task.bounds;
        let share = (f64::from(self.task.bounds.most_gpus) / gpus).min(1.0);
        let (workers, rounds) =
            (workers * share, 2.5 * self.session_s * self.rate() * share * self.demand.rounds);
        let long = (workers / WHOLE_LONG).min(rounds / MANY_ROUNDS);
        let parts = ((workers / WHOLE).max(long).floor() as u32).max(1);
        let allowed = |bounds: &RoleBounds, least: u32| {
            bounds.least.max(least).div_ceil(parts).saturating_mul(parts) <= bounds.most
        };
        // Where the bounds allow no multiple, all of it is simulated, however long that takes.
        if allowed(prefill, 0) && allowed(decode, 1) { parts } else { 1 }
    }

    /// The times of runs that compare, with sessions at this rate of which so many rounds are to be measured.
    pub(crate) fn comparing(&self, rate: f64, rounds: f64) -> Times {
        let measured_s = (rounds / (rate * self.demand.rounds)).min(LONGEST_S).max(self.session_s);
        self.times(rate, self.session_s, measured_s)
    }

    /// The times of runs that decide.
    pub(crate) fn deciding(&self, rate: f64) -> Times {
        let seconds = f64::from(self.task.effort.deciding_s);
        self.times(rate, self.session_s.max(seconds / 6.0), seconds.max(2.0 * self.session_s))
    }

    /// What is measured goes on for `measured_s` behind `warm_s`, the load for half a session's length more.
    fn times(&self, rate: f64, warm_s: f64, measured_s: f64) -> Times {
        let (end_s, per_s) = (warm_s + measured_s + self.session_s / 2.0, rate * self.demand.rounds);
        // Under a load far beyond what is served, and with very long sessions, less has to be enough.
        let scale = (MOST_ROUNDS / (per_s * end_s)).min(1.0);
        Times {
            span: Span { from_s: scale * warm_s, until_s: scale * (warm_s + measured_s) },
            end_s: scale * end_s,
        }
    }

    /// Sessions of a run: at this rate, for so many seconds.
    pub(crate) fn trace(&self, rate: f64, until_s: f64, seed: u64) -> Result<Trace, PlanError> {
        let workload = &self.task.workload;
        let mut until_s = until_s;
        // It may be that none comes, in the rarest bursts.
        for _ in 0..8 {
            let trace = workload.source.generate(&workload.arrivals.at(rate), until_s, seed)?.cut(self.limit);
            if !trace.sessions.is_empty() {
                return Ok(trace);
            }
            until_s *= 2.0;
        }
        Err(PlanError::NoSessions)
    }
}

/// Tokens of the longest session that a worker's memory holds.
fn holds(profile: &WorkerProfile) -> u64 {
    let block = u64::from(profile.cluster.block_tokens.max(1));
    profile.cluster.kv_tokens / block * block
}
