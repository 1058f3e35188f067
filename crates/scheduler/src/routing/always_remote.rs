//! Every prefill on a prefill worker, on the one predicted to finish first: plain disaggregation.

use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `always_remote`. Only what cannot be remote stays local: an increment of a single token, which the decode
/// worker computes itself in any case, and everything while no prefill worker is ready.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysRemote;

impl RoutingPolicy for AlwaysRemote {
    fn name(&self) -> &'static str {
        "always_remote"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        let (target, reason) = match costs.best_remote {
            _ if input.increment <= 1 => (Target::Local, Reason::IncrementSmall),
            Some((index, _)) => (Target::Remote(index), Reason::PolicyAlwaysRemote),
            None => (Target::Local, Reason::NoPrefillWorker),
        };
        Decision::new(target, reason, &costs)
    }
}
