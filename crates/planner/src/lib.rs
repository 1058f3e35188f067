//! The planner: how many prefill and decode workers of which parallel degree meet the objectives of a multi-round
//! workload.
//!
//! The paper's integer program gives a first answer from the latencies of pools that know nothing of each other. As the
//! router moves prefills between them, that answer, its neighbours and what arithmetic holds for good are then judged by the
//! simulator, which runs the router's own policy: all under the same sessions, with more and more runs for fewer and fewer
//! candidates.
//!
//! Pure and deterministic: nothing is read, no time passes, and effort is counted in simulated rounds.

mod alternatives;
mod binding;
mod deployment;
mod error;
mod exhaustive;
mod ground;
mod judge;
mod needed;
mod plan;
mod planner;
mod pools;
mod prediction;
mod program;
mod search;
mod space;
mod task;
mod why;
mod work;
mod workers;
mod workload;

pub use deployment::{Deployment, Pool, Role};
pub use error::PlanError;
pub use exhaustive::exhaustive;
pub use plan::{Alternative, Binding, Limit, Needed, Objective, Plan, Searched, Verdict};
pub use planner::plan;
pub use prediction::{Misses, Prediction};
pub use program::ProgramAnswer;
pub use search::Ended;
pub use task::{Bounds, Effort, Goal, MOST_GPUS, RoleBounds, Task};
pub use workers::WorkerProfile;
pub use workload::{LEAST_SESSIONS, Statistic, Statistics, WorkloadModel};
