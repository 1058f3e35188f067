//! What the engine refuses.

use std::ops::Range;

use super::RoundId;
use crate::backend::BackendError;
use crate::kv::LedgerError;
use crate::sampling::InvalidSampling;

/// A refused call. Rounds and sessions are as before, except where a variant says otherwise; cached blocks may have been
/// given up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such round: never opened, ended, cancelled or expired.
    #[error("round {0} does not exist")]
    UnknownRound(RoundId),
    /// The round is not in the state that the call needs.
    #[error("round {round} is {state}, not {expected}")]
    WrongState {
        /// The round.
        round: RoundId,
        /// Its state.
        state: &'static str,
        /// The state that the call needs.
        expected: &'static str,
    },
    /// The session is bound with a newer epoch.
    #[error("the session is bound with epoch {current}")]
    StaleEpoch {
        /// The epoch it is bound with.
        current: u64,
    },
    /// Prompt and output together exceed the context.
    #[error("{prompt} prompt tokens and {max_tokens} output tokens exceed the context of {limit} tokens")]
    ContextLength {
        /// Prompt tokens.
        prompt: usize,
        /// Output tokens asked for.
        max_tokens: usize,
        /// The model's context.
        limit: usize,
    },
    /// Not enough KV blocks.
    #[error("{needed} KV blocks are needed, {free} are available")]
    KvExhausted {
        /// Blocks needed.
        needed: usize,
        /// Blocks that could be had.
        free: usize,
    },
    /// The engine holds as many rounds as it may.
    #[error("the engine already holds {limit} rounds")]
    TooManyRounds {
        /// The limit.
        limit: usize,
    },
    /// The session already has a round.
    #[error("session {session} already has a round")]
    SessionBusy {
        /// The session.
        session: String,
    },
    /// KV of the session is here already.
    #[error("session {session} holds KV here already")]
    SessionHeld {
        /// The session.
        session: String,
    },
    /// The session does not hold what is asked for (any more).
    #[error("session {session} does not hold that KV here")]
    SessionNotHeld {
        /// The session.
        session: String,
    },
    /// The engine remembers as many sessions as it may, and all of them have a round.
    #[error("the engine already holds {limit} sessions")]
    TooManySessions {
        /// The limit.
        limit: usize,
    },
    /// A token id outside the vocabulary.
    #[error("tokens[{index}] is {id}, but the vocabulary has {vocab} tokens")]
    InvalidToken {
        /// Its place in the prompt.
        index: usize,
        /// The id.
        id: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// A parameter outside its range.
    #[error("{field} {reason}")]
    InvalidParameter {
        /// The parameter, as the API names it.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// Nothing of this round can be computed elsewhere.
    #[error("round {round} has nothing to prefill remotely: {reason}")]
    NothingRemote {
        /// The round.
        round: RoundId,
        /// Why.
        reason: &'static str,
    },
    /// Tokens or layer outside what the call may touch.
    #[error(
        "layer {layer}, tokens {}..{} lie outside layers 0..{layers}, tokens {}..{}",
        tokens.start, tokens.end, allowed.start, allowed.end
    )]
    OutOfRange {
        /// The layer asked for.
        layer: usize,
        /// The tokens asked for.
        tokens: Range<usize>,
        /// Layers of the model.
        layers: usize,
        /// The tokens that may be touched.
        allowed: Range<usize>,
    },
    /// KV data of the wrong length.
    #[error("KV data of {tokens} tokens has {got} bytes, expected {expected}")]
    TransferLength {
        /// Tokens in the range.
        tokens: usize,
        /// Bytes handed over.
        got: usize,
        /// Bytes that the range takes.
        expected: usize,
    },
    /// Not all KV has arrived.
    #[error("layer {layer} has {written} of {needed} tokens")]
    IncompleteTransfer {
        /// The first layer that lacks some.
        layer: usize,
        /// Tokens written to it.
        written: usize,
        /// Tokens that should have been.
        needed: usize,
    },
    /// The backend failed. KV that was being written is undefined, and must be written again; a round whose last block
    /// could not be copied has a shorter history.
    #[error("the backend failed")]
    Backend(#[from] BackendError),
    /// The bookkeeping is broken: a defect of the engine.
    #[error("the KV bookkeeping is broken")]
    Ledger(#[from] LedgerError),
}

impl From<InvalidSampling> for EngineError {
    fn from(invalid: InvalidSampling) -> Self {
        Self::InvalidParameter { field: invalid.field, reason: invalid.reason }
    }
}
