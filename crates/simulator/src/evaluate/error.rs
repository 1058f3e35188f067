//! What can be wrong with an evaluation.

use crate::SimulationError;
use crate::trace::TraceError;
use crate::truth::{PointsError, TruthError};
use crate::workload::WorkloadError;

/// An evaluation that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Of the table of step times.
    #[error(transparent)]
    Points(#[from] PointsError),
    /// Of the step times.
    #[error(transparent)]
    Truth(#[from] TruthError),
    /// Of the workload.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// Of the trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Of the simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A search that would find nothing or never end.
    #[error("{field} of the search is {value}, it must be {wanted}")]
    Search {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// More workers than accelerators.
    #[error(
        "{prefill} prefill and {decode} decode workers of {theta} accelerators are more than {gpus} accelerators"
    )]
    TooLarge {
        /// Prefill workers.
        prefill: u32,
        /// Decode workers.
        decode: u32,
        /// Accelerators of a worker.
        theta: u32,
        /// Accelerators.
        gpus: u32,
    },
}
