//! KV from and for other workers: leases, writes, reads, and the prefill role.

use std::ops::Range;
use std::time::Instant;

use super::open::wrong_state;
use super::round::{Filling, Kind, Round, State};
use super::{Engine, EngineError, PrefillOpened, RemoteRange, RoundId};
use crate::backend::{BLOCK_TOKENS, KvSpan};
use crate::kv::{Exclusive, Holder, Short};

impl From<Short> for EngineError {
    fn from(short: Short) -> Self {
        Self::KvExhausted { needed: short.needed, free: short.available }
    }
}

/// Which rounds a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A session's round that another worker prefills.
    Decode,
    /// A prefill for another worker.
    Prefill,
    /// A session that comes from another worker.
    Move,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "a session's round",
            Self::Prefill => "a prefill",
            Self::Move => "a session on its way here",
        }
    }
}

fn role(round: &Round) -> Role {
    match round.kind {
        Kind::Serve(_) => Role::Decode,
        Kind::Prefill { .. } => Role::Prefill,
        Kind::Move { .. } => Role::Move,
    }
}

impl Engine {
    /// Reserves the blocks of an opened round's increment for another worker to fill.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`; `NothingRemote` when the increment is the last token alone or prompt
    /// log-probabilities are asked for; `KvExhausted` when blocks are short now, or running or queued rounds wait for
    /// some; `Backend` when the history's last block cannot be copied: the history then ends before it. The round stays
    /// opened.
    pub fn lease_remote(&mut self, id: RoundId, now: Instant) -> Result<RemoteRange, EngineError> {
        self.kv.advance(now);
        let round = self.round(id)?;
        if !matches!(round.state, State::Opened { .. }) {
            return Err(wrong_state(round, "opened"));
        }
        let range = RemoteRange { history: round.computed, end: round.tokens.len() - 1 };
        if range.history >= range.end {
            return Err(EngineError::NothingRemote { round: id, reason: "only the last token is new" });
        }
        if round.wants_all_logits() {
            let reason = "log-probabilities of the prompt are asked for";
            return Err(EngineError::NothingRemote { round: id, reason });
        }
        if self.is_short_of_blocks() {
            // Otherwise leases would take every block that comes free, and who waits for one would never move.
            let needed = round.blocks_needed() - round.blocks.len();
            return Err(EngineError::KvExhausted { needed, free: 0 });
        }
        self.make_room(id, Holder::Leased)?;
        let layers = self.backend.kv_shape().layers;
        if let Some(round) = self.rounds.get_mut(&id) {
            round.state = State::Filling(Filling::new(range.history..range.end, layers));
        }
        Ok(range)
    }

    /// Writes KV that another worker has, in any order; what was written before may be written again.
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
        let expected = if role(self.round(id)?) == Role::Move { Role::Move } else { Role::Decode };
        self.fill(id, expected, layer, tokens, data)
    }

    /// Accepts the written KV; the round computes its last prompt token and decodes.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`; `IncompleteTransfer` while any layer lacks any token (the lease stays).
    pub fn commit_remote(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        let range = self.filling(id, Role::Decode)?.allowed.clone();
        self.accept(id, Role::Decode, range)
    }

    /// Gives the remote prefill up: what was written is ignored, the increment is computed here.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`.
    pub fn abort_remote(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        self.filling(id, Role::Decode)?;
        self.activate(id);
        self.queue(id);
        Ok(())
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
        let round = self.round(id)?;
        self.check_range(layer, &tokens, 0..round.computed)?;
        let span = KvSpan { block_table: &round.blocks, start: tokens.start, end: tokens.end };
        Ok(self.backend.read_kv(layer, span, out)?)
    }

    /// Opens a prefill for another worker: `tokens` are all that the KV shall hold. What the prefix cache has is
    /// pinned. Such a round has no time limit of its own: the caller cancels it.
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
        self.kv.advance(now);
        self.check_tokens(&tokens, 0)?;
        self.check_room(tokens.len())?;
        let id = self.next_id();
        let mut chain = Vec::new();
        let blocks = self.kv.find_prefix(&salt, &tokens, &mut chain);
        self.kv.retain(&blocks, Holder::Active);
        let cached = blocks.len() * BLOCK_TOKENS;
        let filling = Filling::new(cached..tokens.len(), self.backend.kv_shape().layers);
        let round = Round {
            id,
            kind: Kind::Prefill { shown: cached },
            state: State::Filling(filling),
            salt,
            tokens,
            computed: cached,
            blocks,
            leased: 0,
            sealed: 0,
            chain,
        };
        self.rounds.insert(id, round);
        Ok(PrefillOpened { id, cached })
    }

    /// Writes history KV that was pulled from the decode worker, in any order, at or after `cached`.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`, `OutOfRange`, `TransferLength`, `Backend`; `KvExhausted` when blocks are short
    /// now.
    pub fn import(
        &mut self,
        id: RoundId,
        layer: usize,
        tokens: Range<usize>,
        data: &[u8],
    ) -> Result<(), EngineError> {
        self.fill(id, Role::Prefill, layer, tokens, data)
    }

    /// Queues an opened prefill: `0..from` is cached or imported, the rest is computed and shown to the hook. `from` is
    /// at least `cached`; tokens between the decode worker's history and `cached` can be had with `read_kv` before.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`, `OutOfRange`; `IncompleteTransfer` when imports are missing.
    pub fn start_prefill(&mut self, id: RoundId, from: usize, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        let allowed = self.filling(id, Role::Prefill)?.allowed.clone();
        if from < allowed.start || from > allowed.end {
            let layers = self.backend.kv_shape().layers;
            return Err(EngineError::OutOfRange { layer: 0, tokens: from..allowed.end, layers, allowed });
        }
        self.accept(id, Role::Prefill, allowed.start..from)?;
        if let Some(Round { kind: Kind::Prefill { shown }, .. }) = self.rounds.get_mut(&id) {
            *shown = from;
        }
        Ok(())
    }

    /// Makes the round's partly used block its own, and gives it blocks for all its tokens.
    pub(super) fn make_room(&mut self, id: RoundId, holder: Holder) -> Result<(), EngineError> {
        let Some(round) = self.rounds.get_mut(&id) else { return Err(EngineError::UnknownRound(id)) };
        let partial = round.computed / BLOCK_TOKENS;
        if !round.computed.is_multiple_of(BLOCK_TOKENS)
            && let Some(block) = round.blocks.get_mut(partial)
            && let Exclusive::CopyTo(copy) = self.kv.make_exclusive(*block)?
        {
            let copied = self.backend.copy_block(*block, copy);
            *block = copy;
            if copied.is_err() {
                round.computed = partial * BLOCK_TOKENS;
                if let Kind::Serve(serve) = &mut round.kind {
                    serve.history = serve.history.min(round.computed);
                }
            }
            copied?;
        }
        let missing = round.blocks_needed().saturating_sub(round.blocks.len());
        round.blocks.extend(self.kv.allocate(missing, holder)?);
        if holder == Holder::Leased {
            round.leased = missing;
        }
        Ok(())
    }

    pub(super) fn filling(&self, id: RoundId, expected: Role) -> Result<&Filling, EngineError> {
        let round = self.round(id)?;
        match &round.state {
            State::Filling(filling) if role(round) == expected => Ok(filling),
            _ if role(round) != expected => Err(EngineError::WrongState {
                round: id,
                state: role(round).name(),
                expected: expected.name(),
            }),
            _ => Err(wrong_state(round, "waiting for KV")),
        }
    }

    fn fill(
        &mut self,
        id: RoundId,
        expected: Role,
        layer: usize,
        tokens: Range<usize>,
        data: &[u8],
    ) -> Result<(), EngineError> {
        let filling = self.filling(id, expected)?;
        self.check_range(layer, &tokens, filling.allowed.clone())?;
        let bytes = tokens.len() * self.backend.kv_shape().token_layer_bytes();
        if data.len() != bytes {
            return Err(EngineError::TransferLength {
                tokens: tokens.len(),
                got: data.len(),
                expected: bytes,
            });
        }
        if filling.layers[layer].covers(&tokens) {
            return Ok(());
        }
        let Some(round) = self.rounds.get_mut(&id) else { return Err(EngineError::UnknownRound(id)) };
        let missing = tokens.end.div_ceil(BLOCK_TOKENS).saturating_sub(round.blocks.len());
        round.blocks.extend(self.kv.allocate(missing, Holder::Leased)?);
        round.leased += missing;
        let span = KvSpan { block_table: &round.blocks, start: tokens.start, end: tokens.end };
        self.backend.write_kv(layer, span, data)?;
        if let State::Filling(filling) = &mut round.state {
            filling.layers[layer].add(tokens);
        }
        Ok(())
    }

    /// Takes `range`, if all of it has arrived, as valid, and queues the round.
    fn accept(&mut self, id: RoundId, expected: Role, range: Range<usize>) -> Result<(), EngineError> {
        self.complete(id, expected, range)?;
        self.queue(id);
        Ok(())
    }

    /// Takes `range`, if all of it has arrived, as valid.
    pub(super) fn complete(
        &mut self,
        id: RoundId,
        expected: Role,
        range: Range<usize>,
    ) -> Result<(), EngineError> {
        if let Some((layer, written)) = self.filling(id, expected)?.incomplete(&range) {
            return Err(EngineError::IncompleteTransfer { layer, written, needed: range.len() });
        }
        self.activate(id);
        if let Some(round) = self.rounds.get_mut(&id) {
            round.computed = range.end;
        }
        self.seal(id);
        Ok(())
    }

    /// Turns a round's leased blocks into active ones.
    fn activate(&mut self, id: RoundId) {
        if let Some(round) = self.rounds.get_mut(&id) {
            let first = round.blocks.len() - std::mem::take(&mut round.leased);
            self.kv.convert(&round.blocks[first..], Holder::Leased, Holder::Active);
        }
    }

    fn check_range(
        &self,
        layer: usize,
        tokens: &Range<usize>,
        allowed: Range<usize>,
    ) -> Result<(), EngineError> {
        let layers = self.backend.kv_shape().layers;
        let inside = allowed.start <= tokens.start && tokens.start <= tokens.end && tokens.end <= allowed.end;
        if layer < layers && inside {
            return Ok(());
        }
        Err(EngineError::OutOfRange { layer, tokens: tokens.clone(), layers, allowed })
    }
}
