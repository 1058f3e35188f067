//! The engine's load, for routing.

use super::RoundId;
use crate::kv::Ledger;

/// A round that decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodingRound {
    /// Its name.
    pub round: RoundId,
    /// Output tokens so far.
    pub tokens: usize,
    /// Most output tokens that may follow.
    pub left: usize,
}

/// A prompt that is not computed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingPrefill {
    /// Its round.
    pub round: RoundId,
    /// Tokens whose KV is there.
    pub history: usize,
    /// Tokens still to compute.
    pub increment: usize,
}

/// What the engine has to do at this moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineLoad {
    /// Rounds that have their whole prompt and decode.
    pub running_decodes: usize,
    /// Rounds whose prompt is not computed yet, running or waiting; leased ones count when they come back.
    pub waiting_prefills: usize,
    /// Their tokens still to compute.
    pub waiting_prefill_tokens: usize,
    /// The same, one by one: those that run by age, then those that are queued. They are computed in this order, unless
    /// another is preferred (`Engine::prefer`).
    pub prefills: Vec<WaitingPrefill>,
    /// The rounds that decode, by age.
    pub decoding: Vec<DecodingRound>,
    /// Mean context of the decoding rounds, tokens; 0 without any.
    pub mean_context: f64,
    /// Sessions remembered.
    pub sessions: usize,
    /// The KV pool.
    pub ledger: Ledger,
}
