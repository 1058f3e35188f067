//! The scheduler beside each decode worker: the service's OpenAI API, sessions with their homes and bindings, and the
//! decision where each prefill runs.

mod args;
mod clock;
mod epochs;
mod error;
mod health;
mod lines;
mod lru;
mod main;
mod run;
mod wire;

pub use args::{Args, OnRemoteFailure, Policy, SignalSource};
pub use error::StartError;
pub use main::main;
pub use run::{Running, start};
