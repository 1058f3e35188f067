//! The scheduler's policies: which decode worker a session is bound to, where each prefill runs, and in which order a
//! prefill worker serves its queue. Pure: time comes in as seconds, nothing is read from anywhere, and the same code
//! runs in the sidecar and wherever its decisions are studied.

pub mod binding;
pub mod config;
pub mod inflight;
pub mod lengths;
pub mod miss;
pub mod moving;
pub mod overload;
pub mod pace;
pub mod rendezvous;
pub mod reorder;
pub mod routing;
pub mod staleness;
pub mod window;

pub use binding::{BindCandidate, Binding, bind, bind_by_load};
pub use config::{ConfigError, PolicyConfig, PolicyKind, UnknownPolicy};
pub use inflight::InFlight;
pub use lengths::OutputLengths;
pub use miss::MissCurve;
pub use moving::{MoveCandidate, Moving};
pub use overload::{Admission, Forecast, Overload};
pub use pace::{Outcome, Pace};
pub use reorder::{Order, QueuedTask, Reorder, next_by_slack, next_in_order};
pub use routing::{
    AlwaysLocal, AlwaysRemote, Ampd, Costs, Decision, DecodeLoad, Decoding, DynamoConditional, LlmdPrefix,
    LocalPrefill, Paper, Ppd, PrefillLoad, Reason, RouteInput, RoutingPolicy, SessionAffinity, Slo, Target,
};
pub use staleness::{Freshness, SignalAges};
pub use window::Window;
