//! Every prefill on the bound decode worker: aggregated serving.

use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `always_local`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysLocal;

impl RoutingPolicy for AlwaysLocal {
    fn name(&self) -> &'static str {
        "always_local"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        Decision::new(Target::Local, Reason::PolicyAlwaysLocal, &Costs::predict(input))
    }
}
