//! The engine's load, with what only its thread knows of the rounds: how old they are, and what is still to come of them.

use std::time::Instant;

use ampd_engine::core::{EngineLoad, RoundId};
use ampd_scheduler::{Decoding, LocalPrefill};

/// The load between two steps.
pub(in crate::server) struct Snapshot {
    /// What the engine itself tells.
    pub engine: EngineLoad,
    /// The rounds that decode, one by one.
    pub decoding: Vec<Decoding>,
    /// The prompts that wait or run, in the order in which they run. A last token alone is not among them: it is a row of
    /// the next step, as those of the rounds that decode.
    pub waiting: Vec<(RoundId, LocalPrefill)>,
    /// When this was so.
    pub at: Instant,
    /// Predicted seconds of the step that begins then.
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
