//! In which order prompts are computed.

use super::{Engine, RoundId};

impl Engine {
    /// Computes these prompts first in the following steps, in this order; before them go only rounds of which one token is
    /// left, and rounds that are not named come after them. While a round is short of blocks, prompts go by age all the
    /// same, so that whoever waits for blocks is not passed for ever.
    pub fn prefer(&mut self, prompts: &[RoundId]) {
        self.preferred.clear();
        self.preferred.extend(prompts.iter().enumerate().map(|(place, &id)| (id, place)));
    }

    /// The rounds whose prompts run and those that are queued, with their ages, in the order in which the step takes them.
    pub(super) fn prompts(&self) -> Vec<(u64, RoundId)> {
        let runs = self.running.iter().filter(|&(_, &id)| self.remaining(id) > 1);
        let mut prompts: Vec<_> = runs.chain(&self.waiting).map(|(&age, &id)| (age, id)).collect();
        if !self.preferred.is_empty() && !self.is_short_of_blocks() {
            let place = |id: &RoundId| self.preferred.get(id).copied().unwrap_or(usize::MAX);
            prompts.sort_by_key(|(_, id)| (self.remaining(*id) > 1, place(id)));
        }
        prompts
    }
}
