//! The engine: sessions, rounds, the ragged step. Synchronous and owned by one thread; time comes from the caller.
//!
//! A round is opened (its history pinned), then run: locally, or with the prompt's KV leased for another worker to
//! write. Steps mix decode rows and prefill chunks of all running rounds. The prompt's last token is always computed
//! here, since its logits give the first output token.

mod admit;
mod coverage;
mod error;
mod event;
mod hook;
mod load;
mod moves;
mod open;
mod order;
mod plan;
mod remote;
mod request;
mod round;
mod step;

use std::collections::{BTreeMap, HashMap};

pub use error::EngineError;
pub use event::{Event, FinishReason, PrefillPart, RoundError, StepReport, TokenLogprob};
pub use hook::{LayerHook, NoHook};
pub use load::{DecodingRound, EngineLoad, WaitingPrefill};
pub use moves::{IdleSession, MovedSession};
pub use request::{EngineOptions, Opened, PrefillOpened, RemoteRange, RoundId, RoundRequest};

pub use crate::kv::{Ledger, LedgerError};
pub use crate::sampling::Sampling;

use crate::backend::{Backend, KvShape};
use crate::kv::KvManager;
use crate::model::ModelConfig;
use admit::Shortage;
use round::Round;

/// One model with its KV pool, sessions and rounds.
pub struct Engine {
    backend: Box<dyn Backend>,
    options: EngineOptions,
    kv: KvManager,
    rounds: HashMap<RoundId, Round>,
    /// Queued rounds by age: the order in which they were run first.
    waiting: BTreeMap<u64, RoundId>,
    /// Rounds that take part in steps, by age.
    running: BTreeMap<u64, RoundId>,
    next_round: u64,
    next_age: u64,
    /// The queued round that is short of blocks, while it is queued.
    shortage: Option<Shortage>,
    /// Whether the last step left a running round waiting for a block.
    running_short: bool,
    /// Places of the prompts that the caller wants computed first.
    preferred: HashMap<RoundId, usize>,
    /// Most rows of prompts in a step, where the caller paces them.
    paced: Option<usize>,
    /// What the sampler writes to, kept between steps.
    candidates: Vec<(u32, f32)>,
}

impl Engine {
    /// An engine without sessions.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>, mut options: EngineOptions) -> Self {
        options.token_budget = options.token_budget.max(1);
        options.prefill_chunk = options.prefill_chunk.max(1);
        options.max_running = options.max_running.clamp(1, options.token_budget);
        let kv = KvManager::new(backend.kv_shape().blocks);
        Self {
            backend,
            options,
            kv,
            rounds: HashMap::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            next_round: 0,
            next_age: 0,
            shortage: None,
            running_short: false,
            preferred: HashMap::new(),
            paced: None,
            candidates: Vec::new(),
        }
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.backend.config()
    }

    /// The KV pool's shape.
    #[must_use]
    pub fn kv_shape(&self) -> KvShape {
        self.backend.kv_shape()
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Bounds the rows that all prompts together have in each of the following steps, at least one; it replaces
    /// `prefill_chunk`, which bounds those of one round. `None` gives that back. A prompt's last token alone is not
    /// bounded: it is a row like those of the rounds that decode.
    pub fn pace(&mut self, rows: Option<usize>) {
        self.paced = rows.map(|rows| rows.max(1));
    }

    /// Whether a step has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.running.is_empty() || !self.waiting.is_empty()
    }

    /// The KV pool's ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.kv.ledger()
    }

    /// Recounts every block's holders: a test oracle, and a check to run now and then.
    ///
    /// # Errors
    /// What contradicts the books.
    pub fn check_ledger(&self) -> Result<(), LedgerError> {
        self.kv.check(self.rounds.values().flat_map(Round::holds))
    }

    /// The load at this moment.
    #[must_use]
    pub fn load(&self) -> EngineLoad {
        let mut load = EngineLoad {
            sessions: self.kv.sessions().count(),
            ledger: self.ledger(),
            ..EngineLoad::default()
        };
        let mut context = 0;
        for round in self.running.values().chain(self.waiting.values()).filter_map(|id| self.rounds.get(id)) {
            if let Some((tokens, left)) = round.output().filter(|_| round.decodes()) {
                load.decoding.push(DecodingRound { round: round.id, tokens, left });
                load.running_decodes += 1;
                context += round.tokens.len();
            } else {
                load.waiting_prefills += 1;
                load.waiting_prefill_tokens += round.remaining();
                let (history, increment) = (round.computed, round.remaining());
                load.prefills.push(WaitingPrefill { round: round.id, history, increment });
            }
        }
        load.mean_context = context as f64 / load.running_decodes.max(1) as f64;
        load
    }
}
