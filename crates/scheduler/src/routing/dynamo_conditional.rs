//! The rule of Dynamo's conditional disaggregation: static thresholds on the uncached length, with breakers on load.

use ampd_perfmodel::sane;

use super::threshold::{by_size, must_stay};
use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `dynamo_conditional` (NVIDIA Dynamo 1.5, `--router-conditional-disagg`, policy `isl_or_load`): local if
/// the effective input, what the decode worker has not cached, is below a threshold in tokens and in its share of the
/// prompt, or if the prefill side is busy; a busy decode worker overrides both. Without the two busy thresholds, as
/// shipped, it is `isl_bounding`.
///
/// Dynamo measures how busy a side is by tokens and blocks in use. What that is in time depends on the model; here the
/// predicted wait as a share of the TTFT objective and the windowed ITL as a share of its objective stand for them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamoConditional {
    /// Uncached tokens below which a prefill may stay.
    pub effective_tokens: u32,
    /// Uncached share of the prompt below which it may stay.
    pub effective_share: f64,
    /// The prefill side is busy when the worker that would be taken has a wait over this share of the TTFT objective.
    pub prefill_busy: Option<f64>,
    /// The decode worker is busy when its windowed ITL is over this share of the objective.
    pub decode_busy: Option<f64>,
}

impl Default for DynamoConditional {
    /// What Dynamo ships.
    fn default() -> Self {
        Self { effective_tokens: 2048, effective_share: 0.7, prefill_busy: None, decode_busy: None }
    }
}

impl RoutingPolicy for DynamoConditional {
    fn name(&self) -> &'static str {
        "dynamo_conditional"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        let index = match must_stay(input, &costs) {
            Ok(index) => index,
            Err(decision) => return decision,
        };
        let itl = sane(input.decode.windowed_itl_s.unwrap_or(0.0));
        if self.decode_busy.is_some_and(|share| itl > share * input.slo.itl_s) {
            return Decision::new(Target::Remote(index), Reason::DecodeBusy, &costs);
        }
        let wait_s = sane(input.prefills.get(index).map_or(0.0, |load| load.backlog_s));
        if self.prefill_busy.is_some_and(|share| wait_s > share * input.slo.ttft_s) {
            return Decision::new(Target::Local, Reason::PrefillBusy, &costs);
        }
        let prompt = f64::from(input.history) + f64::from(input.increment);
        let share = f64::from(input.increment) / prompt;
        let below = input.increment < self.effective_tokens && share < self.effective_share;
        by_size(below, index, &costs)
    }
}
