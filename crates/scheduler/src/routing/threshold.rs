//! What the static policies of other systems share: whether a prefill is short enough to stay.

use super::{Costs, Decision, Reason, RouteInput, Target};

/// What can be decided before any threshold is looked at: a single token is computed by the decode worker in any case,
/// and without a prefill worker everything stays. Else the best remote worker's index.
pub(super) fn must_stay(input: &RouteInput<'_>, costs: &Costs) -> Result<usize, Decision> {
    match costs.best_remote {
        _ if input.increment <= 1 => Err(Decision::new(Target::Local, Reason::IncrementSmall, costs)),
        Some((index, _)) => Ok(index),
        None => Err(Decision::new(Target::Local, Reason::NoPrefillWorker, costs)),
    }
}

/// Local below a threshold, else remote on the worker of this index.
pub(super) fn by_size(below: bool, index: usize, costs: &Costs) -> Decision {
    if below {
        Decision::new(Target::Local, Reason::BelowThreshold, costs)
    } else {
        Decision::new(Target::Remote(index), Reason::AboveThreshold, costs)
    }
}
