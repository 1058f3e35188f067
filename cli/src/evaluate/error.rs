//! What can be wrong with what is to be evaluated or simulated.

use std::path::PathBuf;

use ampd_perfmodel::ProfileError;
use ampd_simulator::SimulationError;
use ampd_simulator::evaluate::EvaluateError;
use ampd_simulator::trace::TraceError;
use ampd_simulator::truth::TruthError;
use ampd_simulator::workload::WorkloadError;

/// What can be wrong with what is to be evaluated or simulated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// A trace that cannot be used.
    #[error("the trace {}: {problem}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong; it tells its own causes.
        problem: TraceError,
    },
    /// What is not what `ampd bench --json` writes.
    #[error("{} is not what ampd bench --json writes", path.display())]
    Measured {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A run in which no round ended.
    #[error("{} has no round that ended and whose tokens the service counted", path.display())]
    NothingMeasured {
        /// The file.
        path: PathBuf,
    },
    /// No such worker type.
    #[error("there is no worker type {name}; there are {known}")]
    Model {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Too few accelerators.
    #[error("--gpus is {gpus}, a worker of {model} has {theta}, and two workers at least are compared")]
    Gpus {
        /// What was asked for.
        gpus: u32,
        /// The worker type.
        model: &'static str,
        /// Accelerators of a worker.
        theta: u32,
    },
    /// No such policy.
    #[error("there is no policy {name}; there are {known}")]
    Policy {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A profile that cannot be used.
    #[error("the profile {}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ProfileError,
    },
    /// Workers of a degree that no times are known of.
    #[error("{field}.tensorParallel allows {allowed}; {of} was measured with {theta}")]
    Degree {
        /// The role.
        field: &'static str,
        /// What it allows.
        allowed: String,
        /// What times are known of.
        of: String,
        /// Its degree.
        theta: u32,
    },
    /// A profile does not tell how much KV memory a worker has.
    #[error("spec.decode.engine.kvCache is needed with --profile: it says how many tokens a worker holds")]
    NoMemory,
    /// A budget that is nowhere.
    #[error("spec.accelerator.budget.max is not given: give --gpus, the most accelerators that may be used")]
    NoBudget,
    /// A workload that is not declared.
    #[error("spec.workload.{field} is not given: declare the workload there, or give a --trace")]
    NoWorkload {
        /// What is missing.
        field: &'static str,
    },
    /// What is neither a rate nor a factor.
    #[error("--rate is {0:?}: it must be sessions a second, as 2.5, or a factor, as x2")]
    Rate(String),
    /// What cannot be planned.
    #[error(transparent)]
    Plan(#[from] ampd_planner::PlanError),
    /// A session without an arrival.
    #[error("session {0} of the trace has no arrival_s: give --rate, and arrivals are drawn")]
    NoArrival(usize),
    /// The arrivals.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The manifest's policy.
    #[error(transparent)]
    Routing(#[from] ampd_scheduler::UnknownPolicy),
    /// A parameter of the manifest's policy.
    #[error(transparent)]
    Parameter(#[from] ampd_scheduler::ConfigError),
    /// The step times.
    #[error(transparent)]
    Truth(#[from] TruthError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The evaluation.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}
