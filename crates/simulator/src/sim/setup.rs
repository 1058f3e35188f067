//! What a simulation is told.

use ampd_perfmodel::PerfModel;
use ampd_scheduler::Slo;

use crate::cluster::{self, Cluster, ClusterError, Fault, Policies};
use crate::trace::{Trace, TraceError};
use crate::truth::Truth;

/// A simulation that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// Of the deployment.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Of the trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// An objective that is none.
    #[error("the objective of {which} is {seconds} s, it must be a positive number")]
    Objective {
        /// `TTFT` or `ITL`.
        which: &'static str,
        /// Its value.
        seconds: f64,
    },
    /// A session, counted from 1, without an arrival.
    #[error("session {0} of the trace has no arrival time: draw arrivals first")]
    NoArrival(usize),
    /// An end that is no time.
    #[error("the simulation is to end at {0} s, it must be a positive number")]
    Until(f64),
}

/// A worker type: how long its steps take, and what it holds.
#[derive(Clone, Copy)]
pub struct WorkerType<'a> {
    /// How long steps take.
    pub truth: &'a Truth,
    /// What the policies think how long steps take.
    pub model: &'a PerfModel,
    /// KV memory of a worker, tokens.
    pub kv_tokens: u64,
}

/// One simulation.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The deployment.
    pub cluster: &'a Cluster,
    /// Who decides.
    pub policies: &'a Policies,
    /// How long steps take.
    pub truth: &'a Truth,
    /// What the policies think how long steps take.
    pub model: &'a PerfModel,
    /// The prefill workers, where they are of another type than the decode workers, such as of another parallel degree.
    pub prefill: Option<WorkerType<'a>>,
    /// The objectives.
    pub slo: Slo,
    /// The sessions; all have an arrival.
    pub trace: &'a Trace,
    /// What goes wrong.
    pub faults: &'a [Fault],
    /// Seed of the steps' noise.
    pub seed: u64,
    /// When the simulation ends at the latest, seconds.
    pub until_s: f64,
}

impl Setup<'_> {
    pub(super) fn check(&self) -> Result<(), SimulationError> {
        self.cluster.check()?;
        self.policies.check()?;
        cluster::faults_of(self.faults, self.cluster)?;
        if let Some(prefill) = &self.prefill {
            self.cluster.check_memory("prefill.kv_tokens", prefill.kv_tokens)?;
        }
        let blocks = self.cluster.kv_tokens / u64::from(self.cluster.block_tokens);
        let kv_tokens = blocks * u64::from(self.cluster.block_tokens);
        self.trace.check(self.cluster.max_context, kv_tokens)?;
        for (which, seconds) in [("TTFT", self.slo.ttft_s), ("ITL", self.slo.itl_s)] {
            if !(seconds.is_finite() && seconds > 0.0) {
                return Err(SimulationError::Objective { which, seconds });
            }
        }
        if let Some(index) = self.trace.sessions.iter().position(|session| session.arrival_s.is_none()) {
            return Err(SimulationError::NoArrival(index + 1));
        }
        if !(self.until_s.is_finite() && self.until_s > 0.0) {
            return Err(SimulationError::Until(self.until_s));
        }
        Ok(())
    }

    /// The type of the prefill workers.
    pub(super) fn prefill_type(&self) -> WorkerType<'_> {
        let same = WorkerType { truth: self.truth, model: self.model, kv_tokens: self.cluster.kv_tokens };
        self.prefill.unwrap_or(same)
    }

    /// Prefill times of the prefill workers as a multiple of the decode workers', as workers tell them to sidecars.
    pub(super) fn prefill_speed(&self) -> f64 {
        let Some(prefill) = self.prefill else { return 1.0 };
        let (theirs, own) = (prefill.model.reference().prefill_s, self.model.reference().prefill_s);
        if theirs > 0.0 && own > 0.0 { theirs / own } else { 1.0 }
    }

    /// When the session at this place of the trace arrives, seconds.
    pub(super) fn arrival_s(&self, place: u32) -> f64 {
        let session = &self.trace.sessions[place as usize];
        session.arrival_s.unwrap_or_default() + session.rounds.first().map_or(0.0, |round| round.gap_s)
    }

    /// Rounds of all sessions.
    pub(super) fn rounds(&self) -> u64 {
        self.trace.sessions.iter().map(|session| session.rounds.len() as u64).sum()
    }
}
