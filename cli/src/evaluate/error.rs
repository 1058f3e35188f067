//! What can be wrong with what is to be evaluated or simulated.

use std::path::PathBuf;

use ampd_simulator::evaluate::EvaluateError;
use ampd_simulator::trace::TraceError;

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
    #[error("the trace {}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TraceError,
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
    /// The evaluation.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}
