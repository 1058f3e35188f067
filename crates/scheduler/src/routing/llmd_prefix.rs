//! The rule of llm-d's `prefix-based-pd-decider`: one token threshold, no load.

use super::threshold::{by_size, must_stay};
use super::{Costs, Decision, RouteInput, RoutingPolicy};

/// The policy `llmd_prefix`: remote if the prompt is at least `prompt_tokens` long and at least `non_cached_tokens` of
/// it are not cached on the chosen decode worker (llm-d inference scheduler, `prefix-based-pd-decider`). Which prefill
/// worker it is, is llm-d's own scorer's choice there; here it is the one predicted to finish first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlmdPrefix {
    /// Smallest prompt, tokens, that may go remote; 0 leaves the prompt's length out of it (`promptTokens`).
    pub prompt_tokens: u32,
    /// Smallest uncached part, tokens, that goes remote (`nonCachedTokens`). llm-d's own default of 0 means that
    /// nothing ever does.
    pub non_cached_tokens: u32,
}

impl Default for LlmdPrefix {
    /// The threshold of the example in llm-d's own documentation of the decider; there is no default that does
    /// anything.
    fn default() -> Self {
        Self { prompt_tokens: 0, non_cached_tokens: 512 }
    }
}

impl RoutingPolicy for LlmdPrefix {
    fn name(&self) -> &'static str {
        "llmd_prefix"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        let index = match must_stay(input, &costs) {
            Ok(index) => index,
            Err(decision) => return decision,
        };
        let prompt = input.history.saturating_add(input.increment);
        let below = self.non_cached_tokens == 0
            || input.increment < self.non_cached_tokens
            || prompt < self.prompt_tokens;
        by_size(below, index, &costs)
    }
}
