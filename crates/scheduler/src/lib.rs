//! The scheduler's policies: which decode worker a session is bound to, where each prefill runs, and in which order a
//! prefill worker serves its queue. Pure: time comes in as seconds, nothing is read from anywhere, and the same code
//! runs in the sidecar and wherever its decisions are studied.

pub mod binding;
pub mod config;
pub mod inflight;
pub mod rendezvous;
pub mod reorder;
pub mod routing;
pub mod staleness;
pub mod window;

pub use binding::{BindCandidate, bind};
pub use config::{ConfigError, PolicyConfig, PolicyKind};
pub use inflight::InFlight;
pub use reorder::{QueuedTask, Reorder, next_in_order};
pub use routing::{
    AlwaysLocal, AlwaysRemote, Costs, Decision, DecodeLoad, Paper, PrefillLoad, Reason, RouteInput,
    RoutingPolicy, Slo, Target,
};
pub use staleness::{Freshness, SignalAges};
pub use window::Window;
