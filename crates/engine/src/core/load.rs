//! The engine's load, for routing.

use super::event::PrefillPart;
use crate::kv::Ledger;

/// What the engine has to do at this moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineLoad {
    /// Rounds that have their whole prompt and decode.
    pub running_decodes: usize,
    /// Rounds whose prompt is not computed yet, running or waiting; leased ones count when they come back.
    pub waiting_prefills: usize,
    /// Their tokens still to compute.
    pub waiting_prefill_tokens: usize,
    /// The same, each as tokens that are there and tokens still to compute, in the order in which they will run.
    pub prefill_parts: Vec<PrefillPart>,
    /// Mean context of the decoding rounds, tokens; 0 without any.
    pub mean_context: f64,
    /// Sessions remembered.
    pub sessions: usize,
    /// The KV pool.
    pub ledger: Ledger,
}
