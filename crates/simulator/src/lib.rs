//! A discrete-event cluster of prefill and decode workers that runs the scheduler's own policies: what a deployment
//! would do under a trace, round by round.
//!
//! Pure and deterministic: time is simulated, randomness comes from a seed, and nothing is read from anywhere. The
//! times of steps come from a [`truth`] that the policies never see; they decide by a model fitted to noisy
//! measurements of it, and by signals as old as they are in production.

pub mod cluster;
pub mod evaluate;
mod random;
pub mod report;
mod sim;
pub mod trace;
pub mod truth;
pub mod workload;

pub use sim::{Setup, SimulationError, WorkerType, simulate};
