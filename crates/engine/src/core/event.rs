//! What a step tells.

use super::RoundId;

/// Why a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token was sampled; it is the last output token.
    Stop,
    /// `max_tokens` or the context's end was reached.
    Length,
}

/// Why a round failed; the engine and the other rounds go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RoundError {
    /// The model gave a logit that is infinite or not a number.
    #[error("the model computed logits that are not finite")]
    NonFiniteLogits,
    /// The pool is too small for this round alone.
    #[error("the round needs {needed} KV blocks, the pool has {total}")]
    KvExhausted {
        /// Blocks that the round needs.
        needed: usize,
        /// Blocks in the pool.
        total: usize,
    },
    /// The backend failed while this round was in the batch.
    #[error("the backend failed: {message}")]
    Backend {
        /// The backend's error with its causes.
        message: String,
    },
}

/// A token's log-probability with the most likely tokens at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// Its natural log-probability under the unmodified distribution.
    pub logprob: f32,
    /// The most likely tokens, most likely first, as many as were asked for.
    pub top: Vec<(u32, f32)>,
}

/// Something that happened to a round in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An output token.
    Token {
        /// The round.
        round: RoundId,
        /// Its place in the output, from 0.
        index: usize,
        /// The token.
        id: u32,
        /// Its log-probability, when asked for.
        logprob: Option<f32>,
        /// The most likely tokens at its place, most likely first, when asked for.
        top: Vec<(u32, f32)>,
    },
    /// The prompt is computed; sent before the first output token.
    PromptLogprobs {
        /// The round.
        round: RoundId,
        /// One entry for each prompt token after the first, which nothing predicts.
        tokens: Vec<TokenLogprob>,
    },
    /// A prefill for another worker is computed and the round is gone; its whole blocks are in the prefix cache.
    PrefillDone {
        /// The round.
        round: RoundId,
    },
    /// The round has ended and is gone.
    Finished {
        /// The round.
        round: RoundId,
        /// Why.
        reason: FinishReason,
        /// Prompt tokens, history included.
        prompt_tokens: usize,
        /// Prompt tokens whose KV was here when the round was opened, and could be used.
        history: usize,
        /// Output tokens, a stop token included.
        output_tokens: usize,
    },
    /// The round has failed and is gone.
    Failed {
        /// The round.
        round: RoundId,
        /// Why.
        error: RoundError,
    },
}

/// One prefill part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillPart {
    /// Tokens before the part.
    pub history: usize,
    /// Tokens in it.
    pub increment: usize,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepReport {
    /// What happened, in order; the events of one round are in their own order.
    pub events: Vec<Event>,
    /// Rounds that computed one row to sample their next output token.
    pub decode_rows: usize,
    /// Rows of prompts.
    pub prefill_rows: usize,
    /// The prefill parts.
    pub prefill_parts: Vec<PrefillPart>,
    /// Mean context of the decode rows, tokens; 0 without any.
    pub mean_decode_context: f64,
    /// Rounds sent back to the queue because the pool ran dry.
    pub preempted: usize,
}

impl StepReport {
    /// Whether nothing could run: every round waits for blocks that opened or leased rounds hold. The caller should
    /// wait for a command or the next expiry instead of stepping again at once.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.events.is_empty() && self.decode_rows == 0 && self.prefill_rows == 0
    }
}
