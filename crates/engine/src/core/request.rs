//! What callers ask of the engine, and what they get back at once.

use std::fmt;
use std::time::Duration;

use crate::sampling::Sampling;

/// Limits of one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// Most rows (new tokens) in one step.
    pub token_budget: usize,
    /// Most prompt tokens of one round in one step.
    pub prefill_chunk: usize,
    /// Most rounds that share a step; never more than `token_budget`, so that every running round gets a row.
    pub max_running: usize,
    /// Most rounds in the engine, whatever their state.
    pub max_open: usize,
    /// Most sessions remembered.
    pub max_sessions: usize,
    /// How long an idle session and an unused cached block are kept.
    pub session_ttl: Duration,
    /// How long an opened round waits for its `run_local` or `lease_remote`.
    pub open_ttl: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            token_budget: 512,
            prefill_chunk: 256,
            max_running: 64,
            max_open: 1024,
            max_sessions: 65_536,
            session_ttl: Duration::from_mins(30),
            open_ttl: Duration::from_secs(10),
        }
    }
}

/// Names a round within its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoundId(pub u64);

impl fmt::Display for RoundId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// One round of a session.
#[derive(Debug, Clone)]
pub struct RoundRequest {
    /// The session's name.
    pub session: String,
    /// The binding's epoch; an older one than the session's is refused.
    pub epoch: u64,
    /// Separates tenants: KV is shared only under the same salt.
    pub salt: [u8; 32],
    /// The whole prompt, history included.
    pub tokens: Vec<u32>,
    /// How output tokens are chosen.
    pub sampling: Sampling,
    /// Most output tokens. 0 computes the prompt only (for its log-probabilities).
    pub max_tokens: usize,
    /// Tokens that end the output, besides the model's own end tokens.
    pub stop_tokens: Vec<u32>,
    /// Goes on after the model's end tokens; `stop_tokens` still end the output.
    pub ignore_eos: bool,
    /// Log-probability of each output token, and this many of the most likely tokens beside it.
    pub logprobs: Option<u32>,
    /// The same for the prompt's tokens. Their logits must be computed, so such a round uses no history and stays local.
    pub prompt_logprobs: Option<u32>,
}

/// An opened round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its name.
    pub id: RoundId,
    /// Prompt tokens whose KV is here; at most one less than the prompt, whose last token is always computed.
    pub history: usize,
    /// The other prompt tokens.
    pub increment: usize,
}

/// The tokens `history..end` whose KV another worker computes; `end` is the prompt's last token, computed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteRange {
    /// First token of the range; all earlier ones can be read here.
    pub history: usize,
    /// One past its last token.
    pub end: usize,
}

/// An opened prefill of another worker's round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillOpened {
    /// Its name.
    pub id: RoundId,
    /// Tokens whose KV is here already (whole blocks of the prefix cache); imports start after them.
    pub cached: usize,
}
