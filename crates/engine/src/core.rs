//! The engine: sessions, rounds, the ragged step. Synchronous and owned by one thread; time comes from the caller.
//!
//! A round is opened (its history pinned), then run: locally, or with the prompt's KV leased for another worker to
//! write. Steps mix decode rows and prefill chunks of all running rounds. The prompt's last token is always computed
//! here, since its logits give the first output token.

mod error;
mod event;
mod hook;
mod load;
mod request;

use std::ops::Range;
use std::time::Instant;

pub use error::EngineError;
pub use event::{Event, FinishReason, PrefillPart, RoundError, StepReport, TokenLogprob};
pub use hook::{LayerHook, NoHook};
pub use load::EngineLoad;
pub use request::{EngineOptions, Opened, PrefillOpened, RemoteRange, RoundId, RoundRequest};

pub use crate::kv::{Ledger, LedgerError};
pub use crate::sampling::Sampling;

use crate::backend::{Backend, KvShape};
use crate::model::ModelConfig;

/// One model with its KV pool, sessions and rounds.
pub struct Engine {
    backend: Box<dyn Backend>,
    options: EngineOptions,
}

impl Engine {
    /// An engine without sessions.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>, options: EngineOptions) -> Self {
        Self { backend, options }
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

    /// The options that the engine was made with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Binds a session, or raises its epoch.
    ///
    /// # Errors
    /// `StaleEpoch` when the session is bound with a newer epoch; `TooManySessions`.
    pub fn bind(&mut self, session: &str, epoch: u64, now: Instant) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Opens a round: finds its history and pins it. The round is forgotten after `open_ttl` unless run.
    ///
    /// # Errors
    /// `StaleEpoch`, `SessionBusy`, `TooManyRounds`, `TooManySessions`, `ContextLength`, `InvalidToken`,
    /// `InvalidParameter`; `KvExhausted` when the prompt exceeds the whole pool.
    pub fn open(&mut self, request: RoundRequest, now: Instant) -> Result<Opened, EngineError> {
        unimplemented!()
    }

    /// Queues an opened round; its increment is computed here.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`.
    pub fn run_local(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Reserves the blocks of an opened round's increment for another worker to fill.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`; `NothingRemote` when the increment is the last token alone or prompt
    /// log-probabilities are asked for; `KvExhausted` when blocks are short now. The round stays opened.
    pub fn lease_remote(&mut self, id: RoundId, now: Instant) -> Result<RemoteRange, EngineError> {
        unimplemented!()
    }

    /// Writes KV that another worker computed, in any order; what was written before may be written again.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`, `OutOfRange`, `TransferLength`, `Backend`.
    pub fn write_remote(
        &mut self,
        id: RoundId,
        layer: usize,
        tokens: Range<usize>,
        data: &[u8],
    ) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Accepts the written KV; the round computes its last prompt token and decodes.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`; `IncompleteTransfer` while any layer lacks any token (the lease stays).
    pub fn commit_remote(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Gives the remote prefill up: what was written is ignored, the increment is computed here.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`.
    pub fn abort_remote(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Appends the KV of `tokens` in `layer` to `out`, in the form of [`crate::backend::KvRead::read_kv`]. Any state;
    /// only tokens whose KV is complete.
    ///
    /// # Errors
    /// `UnknownRound`, `OutOfRange`, `Backend`.
    pub fn read_kv(
        &self,
        id: RoundId,
        layer: usize,
        tokens: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Ends a round in any state without an event. Its blocks are free or cached at once; an unknown id is ignored.
    pub fn cancel(&mut self, id: RoundId, now: Instant) {
        unimplemented!()
    }

    /// Opens a prefill for another worker: `tokens` are all that the KV shall hold. What the prefix cache has is pinned.
    /// Such a round has no time limit of its own: the caller cancels it.
    ///
    /// # Errors
    /// `TooManyRounds`, `ContextLength`, `InvalidToken`, `InvalidParameter`; `KvExhausted` when the tokens exceed the
    /// whole pool.
    pub fn open_prefill(
        &mut self,
        tokens: Vec<u32>,
        salt: [u8; 32],
        now: Instant,
    ) -> Result<PrefillOpened, EngineError> {
        unimplemented!()
    }

    /// Writes history KV that was pulled from the decode worker, in any order, at or after `cached`.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`, `OutOfRange`, `TransferLength`, `Backend`; `KvExhausted` when blocks are short now.
    pub fn import(
        &mut self,
        id: RoundId,
        layer: usize,
        tokens: Range<usize>,
        data: &[u8],
    ) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Queues an opened prefill: `0..from` is cached or imported, the rest is computed and shown to the hook. `from` is
    /// at least `cached`; tokens between the decode worker's history and `cached` can be had with `read_kv` before.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`, `OutOfRange`; `IncompleteTransfer` when imports are missing.
    pub fn start_prefill(&mut self, id: RoundId, from: usize, now: Instant) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Whether a step has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        unimplemented!()
    }

    /// Runs one step: decode rows first, then prefill chunks under the token budget. Rounds that fail are told in the
    /// report.
    ///
    /// # Errors
    /// `Ledger` when the bookkeeping is found broken: a defect of the engine.
    pub fn step(&mut self, now: Instant, hook: &mut dyn LayerHook) -> Result<StepReport, EngineError> {
        unimplemented!()
    }

    /// Drops opened rounds, idle sessions and cached blocks whose time is over.
    pub fn expire(&mut self, now: Instant) {
        unimplemented!()
    }

    /// Forgets an idle session's KV and epoch; a running round goes on and leaves no session behind.
    pub fn drop_session(&mut self, session: &str) {
        unimplemented!()
    }

    /// The KV pool's ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        unimplemented!()
    }

    /// The load at this moment.
    #[must_use]
    pub fn load(&self) -> EngineLoad {
        unimplemented!()
    }

    /// Recounts every block's holders.
    ///
    /// # Errors
    /// What contradicts the books.
    pub fn check_ledger(&self) -> Result<(), LedgerError> {
        unimplemented!()
    }
}
