//! What is simulated: workers, links, policies and what goes wrong.

mod check;
mod config;
mod faults;
mod policies;

pub use check::ClusterError;
pub(crate) use check::faults as faults_of;
pub use config::{Cluster, Engine, Links};
pub use faults::{Fault, FaultKind, Role};
pub use policies::{Pacing, Policies, Signals};
