//! A round's state.

use std::ops::Range;
use std::time::Instant;

use super::coverage::Coverage;
use super::{RoundId, TokenLogprob};
use crate::backend::{BLOCK_TOKENS, LogitsWanted};
use crate::kv::{ChainHash, Holder};
use crate::sampling::Sampler;

/// Where a round stands.
#[derive(Debug)]
pub(super) enum State {
    /// Its history is pinned; it is forgotten at the deadline.
    Opened { deadline: Instant },
    /// KV is written from outside.
    Filling(Filling),
    /// It waits for its turn, in the queue under this age.
    Waiting { age: u64 },
    /// It takes part in steps.
    Running { age: u64 },
}

/// KV on its way in.
#[derive(Debug)]
pub(super) struct Filling {
    /// The tokens that may be written.
    pub allowed: Range<usize>,
    /// What has arrived, by layer.
    pub layers: Vec<Coverage>,
}

impl Filling {
    pub(super) fn new(allowed: Range<usize>, layers: usize) -> Self {
        Self { allowed, layers: vec![Coverage::default(); layers] }
    }

    /// The first layer that lacks tokens of the range, with how many it has.
    pub(super) fn incomplete(&self, needed: &Range<usize>) -> Option<(usize, usize)> {
        let layer = self.layers.iter().position(|layer| !layer.covers(needed))?;
        Some((layer, self.layers[layer].count(needed)))
    }
}

/// What a round is for.
pub(super) enum Kind {
    /// A session's round: computes its prompt and decodes.
    Serve(Box<Serve>),
    /// Computes KV for another worker.
    Prefill {
        /// Tokens that the hook has seen or need not see.
        shown: usize,
    },
    /// Takes in the KV of a session that comes from another worker; it computes nothing.
    Move {
        /// The session.
        session: String,
    },
}

/// What only a session's round has.
pub(super) struct Serve {
    pub session: String,
    pub prompt: usize,
    pub history: usize,
    pub sampler: Sampler,
    pub max_tokens: usize,
    /// Tokens that end the output, the model's own included unless ignored.
    pub stop_tokens: Vec<u32>,
    pub logprobs: Option<usize>,
    /// Log-probabilities of the prompt, until they are told.
    pub prompt_logprobs: Option<PromptLogprobs>,
}

/// Log-probabilities of prompt tokens, collected chunk by chunk.
pub(super) struct PromptLogprobs {
    pub top: usize,
    /// Of the second prompt token onwards.
    pub tokens: Vec<TokenLogprob>,
}

/// One round.
pub(super) struct Round {
    pub id: RoundId,
    pub kind: Kind,
    pub state: State,
    pub salt: [u8; 32],
    /// The prompt and the output so far.
    pub tokens: Vec<u32>,
    /// Tokens from the start whose KV is valid.
    pub computed: usize,
    /// The block table; the last `leased` blocks are held as leased, the others as active.
    pub blocks: Vec<u32>,
    pub leased: usize,
    /// Blocks from the start that were offered to the prefix cache.
    pub sealed: usize,
    /// Chain hashes of the round's whole blocks, as far as they were needed.
    pub chain: Vec<ChainHash>,
}

impl Round {
    /// The session whose round it is.
    pub(super) fn session(&self) -> Option<&str> {
        match &self.kind {
            Kind::Serve(serve) => Some(&serve.session),
            Kind::Move { session } => Some(session),
            Kind::Prefill { .. } => None,
        }
    }

    /// Tokens still to compute before the next one can be sampled.
    pub(super) fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Output tokens of a session's round: so far, and how many may follow.
    pub(super) fn output(&self) -> Option<(usize, usize)> {
        let Kind::Serve(serve) = &self.kind else { return None };
        let tokens = self.tokens.len() - serve.prompt;
        Some((tokens, serve.max_tokens.saturating_sub(tokens)))
    }

    /// Whether the next row samples an output token after the first.
    pub(super) fn decodes(&self) -> bool {
        matches!(&self.kind, Kind::Serve(serve) if self.tokens.len() > serve.prompt) && self.remaining() == 1
    }

    /// Blocks that all its tokens need.
    pub(super) fn blocks_needed(&self) -> usize {
        self.tokens.len().div_ceil(BLOCK_TOKENS)
    }

    /// Whether its blocks hold all its tokens.
    pub(super) fn has_room(&self) -> bool {
        self.blocks.len() >= self.blocks_needed()
    }

    /// Tokens that may come from the prefix cache when the round starts over: the last token's logits must be
    /// computed, those that the prompt's log-probabilities need too, and the hook must have seen what is reused.
    pub(super) fn reusable(&self) -> usize {
        match &self.kind {
            Kind::Serve(_) if self.wants_all_logits() => 0,
            Kind::Serve(_) => self.tokens.len() - 1,
            Kind::Prefill { shown } => *shown,
            Kind::Move { .. } => 0,
        }
    }

    /// Whether the logits of each of its rows are needed.
    pub(super) fn wants_all_logits(&self) -> bool {
        matches!(&self.kind, Kind::Serve(serve) if serve.prompt_logprobs.is_some())
    }

    /// Which logits a part that ends at `end` needs.
    pub(super) fn logits_wanted(&self, end: usize) -> LogitsWanted {
        match &self.kind {
            Kind::Serve(_) if self.wants_all_logits() => LogitsWanted::All,
            Kind::Serve(_) if end == self.tokens.len() => LogitsWanted::Last,
            _ => LogitsWanted::None,
        }
    }

    /// Its blocks with the kind of hold on each.
    pub(super) fn holds(&self) -> impl Iterator<Item = (u32, Holder)> {
        let active = self.blocks.len() - self.leased;
        let hold =
            move |(index, &block)| (block, if index < active { Holder::Active } else { Holder::Leased });
        self.blocks.iter().enumerate().map(hold)
    }

    /// Its place in the queues.
    pub(super) fn age(&self) -> Option<u64> {
        match self.state {
            State::Waiting { age } | State::Running { age } => Some(age),
            State::Opened { .. } | State::Filling(_) => None,
        }
    }

    /// The state in words.
    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Opened { .. } => "opened",
            State::Filling(_) => "waiting for KV",
            State::Waiting { .. } => "queued",
            State::Running { .. } => "running",
        }
    }
}
