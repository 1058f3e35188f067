//! The engine's load, with what only its thread knows of the rounds: how old they are, and what is still to come of them.

use std::time::Instant;

use ampd_engine::core::{EngineLoad, EngineOptions, RoundId, WaitingPrefill};
use ampd_perfmodel::PerfModel;
use ampd_scheduler::{Decoding, LocalPrefill};

/// The load between two steps.
pub(in crate::server) struct Snapshot {
    /// What the engine itself tells.
    pub engine: EngineLoad,
    /// The rounds that decode, one by one.
    pub decoding: Vec<Decoding>,
    /// The prompts that wait or run, by age. A last token alone is not among them: it is a row of the next step, as those of
    /// the rounds that decode.
    pub waiting: Vec<LocalPrefill>,
    /// Their rounds.
    pub names: Vec<RoundId>,
    /// All rounds whose prompts are not computed yet, in the order in which they will be.
    pub order: Vec<RoundId>,
    /// When this was so.
    pub at: Instant,
    /// Rows of prompts that the step takes in that begins then, where they are paced.
    pub paced: Option<usize>,
    /// Predicted seconds of that step.
    pub step_s: f64,
}

impl Snapshot {
    /// Predicted seconds until the step that began with this load ends.
    pub(in crate::server) fn step_left_s(&self, now: Instant) -> f64 {
        (self.step_s - self.age_s(now)).max(0.0)
    }

    /// How old this is, seconds.
    pub(in crate::server) fn age_s(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.at).as_secs_f64()
    }
}

/// Predicted seconds of the engine's next step: prompts in their order, under its limits, beside what decodes.
pub(super) fn step_s(
    perf: &PerfModel,
    options: &EngineOptions,
    load: &EngineLoad,
    (prefills, paced): (&[WaitingPrefill], Option<usize>),
) -> f64 {
    let mut left = options.token_budget.saturating_sub(load.running_decodes);
    let chunk = paced.map_or(options.prefill_chunk, |paced| {
        left = left.min(paced);
        paced
    });
    let mut parts = Vec::new();
    for prefill in prefills {
        let rows = prefill.increment.min(chunk).min(left);
        left -= rows;
        if rows > 0 {
            parts.push((prefill.history as f64, rows as f64));
        }
    }
    perf.mixed_s(load.running_decodes as f64, load.mean_context, &parts)
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::{DecodeSegment, PrefillSegment, Transfer};

    use super::*;

    #[test]
    fn a_step_holds_what_its_limits_let_in() {
        let perf = PerfModel {
            prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1.0, k2: 0.0 }],
            decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.0, k1: 1000.0, k2: 0.0 }],
            transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
        };
        let options = EngineOptions { token_budget: 102, prefill_chunk: 70, ..EngineOptions::default() };
        let prefill = WaitingPrefill { round: RoundId(1), history: 0, increment: 90 };
        let load = EngineLoad { running_decodes: 2, ..EngineLoad::default() };
        assert_eq!(step_s(&perf, &options, &load, (&[prefill; 2], None)), 2000.0 + 100.0);
        assert_eq!(step_s(&perf, &options, &load, (&[prefill; 2], Some(95))), 2000.0 + 95.0);
        assert_eq!(step_s(&perf, &options, &EngineLoad::default(), (&[], None)), 0.0);
    }
}
