//! What cannot be planned.

use ampd_simulator::SimulationError;
use ampd_simulator::evaluate::EvaluateError;
use ampd_simulator::workload::WorkloadError;

use crate::Role;

/// What cannot be planned. That no deployment meets the objectives is none of these: that is a plan's
/// [`Verdict`](crate::Verdict).
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A trace without sessions.
    #[error("the workload holds no session")]
    NoSessions,
    /// Too few sessions to tell anything of the others.
    #[error(
        "the workload holds {got} sessions, {least} at least are needed to tell what the next ones are like"
    )]
    TooFewSessions {
        /// Sessions there are.
        got: usize,
        /// Sessions needed.
        least: usize,
    },
    /// A session without rounds.
    #[error("session {0} of the workload has no round")]
    EmptySession(usize),
    /// A trace that does not tell when its sessions arrive.
    #[error("session {0} of the workload has no arrival: a rate is needed")]
    NoArrival(usize),
    /// Sessions that all arrive at the same moment.
    #[error("all sessions of the workload arrive at once: a rate is needed")]
    NoRate,
    /// A number out of its range.
    #[error("{field} is {value}, it must be {wanted}")]
    Number {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// Bounds with nothing between them.
    #[error("{field} is from {least} to {most}: there is nothing between them")]
    Bounds {
        /// The field.
        field: &'static str,
        /// The lower bound.
        least: u32,
        /// The upper bound.
        most: u32,
    },
    /// No profile of any worker type.
    #[error("there is no profile of any worker type")]
    NoProfiles,
    /// A role that may have no degree that a profile is there of.
    #[error("{role} workers may have {allowed} accelerators each; there are profiles of {known}")]
    NoDegree {
        /// The role.
        role: Role,
        /// What is allowed.
        allowed: String,
        /// What there is.
        known: String,
    },
    /// Two profiles of one degree.
    #[error("there are two profiles of workers with {0} accelerators")]
    TwoProfiles(u32),
    /// Profiles that were measured with different models.
    #[error("{other} is a profile of the model {theirs}, {one} of the model {own}")]
    OtherModel {
        /// The first profile.
        one: String,
        /// What it was measured with.
        own: String,
        /// The other one.
        other: String,
        /// What that was measured with.
        theirs: String,
    },
    /// Profiles of different accelerators.
    #[error(
        "{other} is a profile on {theirs}, {one} on {own}: plans over several accelerators are not made yet"
    )]
    OtherAccelerator {
        /// The first profile.
        one: String,
        /// What it was measured on.
        own: String,
        /// The other one.
        other: String,
        /// What that was measured on.
        theirs: String,
    },
    /// Fewer accelerators than the smallest deployment has.
    #[error("the budget is {gpus} accelerators; the smallest deployment that the bounds allow has {least}")]
    TooFewGpus {
        /// The budget.
        gpus: u32,
        /// What is needed.
        least: u64,
    },
    /// More accelerators than the largest deployment has.
    #[error(
        "at least {gpus} accelerators are to be used; the largest deployment that the bounds allow has {most}"
    )]
    TooManyGpus {
        /// What is asked for.
        gpus: u32,
        /// What is possible.
        most: u64,
    },
    /// A model whose context not even first rounds fit.
    #[error("no session of the workload fits the model's context of {context} tokens")]
    NothingFits {
        /// The context.
        context: u64,
    },
    /// Sessions that no decode worker can hold.
    #[error("a session reaches {tokens} tokens; the KV memory of a decode worker holds {kv_tokens} at most")]
    TooLong {
        /// Tokens of the longest session.
        tokens: u64,
        /// Tokens that the largest worker holds.
        kv_tokens: u64,
    },
    /// More deployments than can all be simulated.
    #[error("there are {count} deployments, {most} at most are all simulated")]
    TooManyDeployments {
        /// How many there are.
        count: usize,
        /// How many may be.
        most: usize,
    },
    /// The budget of simulated rounds does not allow a single run.
    #[error("effort.rounds is {rounds}, a single run takes {needed}")]
    TooLittleEffort {
        /// The budget.
        rounds: u64,
        /// What a run takes.
        needed: u64,
    },
    /// The workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A worker type that is known by its card.
    #[error(transparent)]
    Card(#[from] EvaluateError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The integer program.
    #[error("the integer program has no answer: {0}")]
    Program(String),
}

/// Checks a number.
pub(crate) fn number(
    field: &'static str,
    value: f64,
    good: bool,
    wanted: &'static str,
) -> Result<(), PlanError> {
    if value.is_finite() && good { Ok(()) } else { Err(PlanError::Number { field, value, wanted }) }
}
