//! What a decode worker computes: rows that decode, and local prefills.

use super::events::RoundRef;
use super::round::Round;

/// A round that decodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub round: RoundRef,
    pub session: u32,
    /// Steps of the worker before its first one here.
    pub begun: u64,
    /// Steps of the worker after its last one.
    pub end: u64,
    /// Context before its first step here, tokens.
    pub context: u32,
    /// Output tokens before that.
    pub before: u32,
    /// When it had its first token; `None` until its first step, for a round whose prefill ran elsewhere.
    pub first_s: Option<f64>,
    /// Whether its prefill ran elsewhere: then its first step gives its first token, not the time between two.
    pub joined: bool,
}

impl Row {
    /// A round that decodes from the worker's next step on, which will have made `steps` until then.
    pub(super) fn new(name: RoundRef, round: &Round, steps: u64, first_s: Option<f64>) -> Self {
        Self {
            round: name,
            session: round.session,
            begun: steps,
            end: steps + u64::from(round.left),
            context: round.prompt,
            before: round.output - round.left,
            first_s,
            joined: first_s.is_none(),
        }
    }

    /// Its context after `steps` steps of the worker, tokens.
    pub(super) fn context_at(&self, steps: u64) -> u32 {
        self.context + (steps - self.begun) as u32
    }

    /// Its output after `steps` steps of the worker, tokens.
    pub(super) fn tokens_at(&self, steps: u64) -> u32 {
        self.before + (steps - self.begun) as u32
    }
}

/// A local prefill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local {
    pub round: RoundRef,
    pub history: u32,
    pub increment: u32,
    pub done: u32,
    pub arrival_s: f64,
    /// Infinite for a round without an objective.
    pub deadline_s: f64,
    pub postponed: u32,
}

impl Local {
    pub(super) fn remaining(&self) -> u32 {
        self.increment - self.done
    }
}

/// The step under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub rows: u32,
    pub started_s: f64,
    pub seconds: f64,
    /// What the worker's corrected model says.
    pub predicted_s: f64,
    /// What the profile says, of the rows alone and of the whole step.
    pub profiled_s: (f64, f64),
    /// Tokens of each local prefill in it.
    pub parts: Vec<(RoundRef, u32)>,
}
