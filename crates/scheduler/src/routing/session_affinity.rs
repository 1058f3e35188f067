//! Session affinity: each session has one prefill worker, dealt in turn.

use super::threshold::must_stay;
use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `session_affinity`: every prefill goes remote, and all of a session's to the same prefill worker, which
/// still caches its history (session stickiness as in the routers of `SGLang`, `AIBrix` and vLLM's production stack).
/// With sessions numbered as they come it is a round robin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionAffinity;

impl RoutingPolicy for SessionAffinity {
    fn name(&self) -> &'static str {
        "session_affinity"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        if let Err(decision) = must_stay(input, &costs) {
            return decision;
        }
        let ready = || input.prefills.iter().enumerate().filter(|(_, load)| load.ready);
        let turn = input.session % ready().count().max(1) as u64;
        match ready().nth(turn as usize) {
            Some((index, _)) => {
                let worker = Some((index, Costs::remote_s(input, index)));
                let costs = Costs { best_remote: worker, ..costs };
                Decision::new(Target::Remote(index), Reason::Affinity, &costs)
            }
            None => Decision::new(Target::Local, Reason::NoPrefillWorker, &costs),
        }
    }
}
