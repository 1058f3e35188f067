//! Opening, queueing and ending rounds.

use std::time::Instant;

use super::round::{Kind, PromptLogprobs, Round, Serve, State};
use super::{Engine, EngineError, Opened, RoundId, RoundRequest};
use crate::backend::BLOCK_TOKENS;
use crate::kv::{Holder, Sequence};
use crate::sampling::Sampler;

/// Most of the likely tokens beside each log-probability.
const MAX_TOP_LOGPROBS: u32 = 64;

/// Longest name of a session, bytes.
const MAX_SESSION_NAME: usize = 512;

/// Most stop tokens of a request.
const MAX_STOP_TOKENS: usize = 256;

impl Engine {
    /// Binds a session, or raises its epoch.
    ///
    /// # Errors
    /// `StaleEpoch` when the session is bound with a newer epoch; `TooManySessions`; `InvalidParameter` for the name.
    pub fn bind(&mut self, session: &str, epoch: u64, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        self.check_session(session, epoch)?;
        self.bind_session(session, epoch)
    }

    /// Opens a round: finds its history and pins it. The round is forgotten after `open_ttl` unless run.
    ///
    /// # Errors
    /// `StaleEpoch`, `SessionBusy`, `TooManyRounds`, `TooManySessions`, `ContextLength`, `InvalidToken`,
    /// `InvalidParameter`; `KvExhausted` when the prompt exceeds the whole pool.
    pub fn open(&mut self, request: RoundRequest, now: Instant) -> Result<Opened, EngineError> {
        self.kv.advance(now);
        self.check_request(&request)?;
        self.check_session(&request.session, request.epoch)?;
        if self.kv.sessions().is_busy(&request.session) {
            return Err(EngineError::SessionBusy { session: request.session });
        }
        self.check_room(request.tokens.len())?;
        self.bind_session(&request.session, request.epoch)?;

        let id = self.next_id();
        let prompt = request.tokens.len();
        let limit = if request.prompt_logprobs.is_some() { 0 } else { prompt - 1 };
        let (history, blocks) =
            self.kv.begin_round(&request.session, id.0, &request.salt, &request.tokens, limit);
        let mut stop_tokens = request.stop_tokens;
        if !request.ignore_eos {
            stop_tokens.extend(&self.backend.config().eos);
        }
        let serve = Serve {
            session: request.session,
            prompt,
            history,
            sampler: Sampler::new(request.sampling, &request.tokens),
            max_tokens: request.max_tokens,
            stop_tokens,
            logprobs: request.logprobs.map(|top| top as usize),
            prompt_logprobs: request
                .prompt_logprobs
                .map(|top| PromptLogprobs { top: top as usize, tokens: Vec::new() }),
        };
        let round = Round {
            id,
            kind: Kind::Serve(Box::new(serve)),
            state: State::Opened { deadline: now + self.options.open_ttl },
            salt: request.salt,
            tokens: request.tokens,
            computed: history,
            blocks,
            leased: 0,
            sealed: 0,
            chain: Vec::new(),
        };
        self.rounds.insert(id, round);
        Ok(Opened { id, history, increment: prompt - history })
    }

    /// Queues an opened round; its increment is computed here.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`.
    pub fn run_local(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        let round = self.round(id)?;
        match round.state {
            State::Opened { .. } => {
                self.queue(id);
                Ok(())
            }
            _ => Err(wrong_state(round, "opened")),
        }
    }

    /// Ends a round in any state without an event. Its blocks are free or cached at once; an unknown id is ignored.
    pub fn cancel(&mut self, id: RoundId, now: Instant) {
        self.kv.advance(now);
        let computed = self.rounds.get(&id).map_or(0, |round| round.computed);
        self.end(id, computed);
    }

    /// Drops opened rounds, idle sessions and cached blocks whose time is over.
    pub fn expire(&mut self, now: Instant) {
        let over = |round: &&Round| matches!(round.state, State::Opened { deadline } if deadline <= now);
        let ids: Vec<RoundId> = self.rounds.values().filter(over).map(|round| round.id).collect();
        for id in ids {
            self.cancel(id, now);
        }
        self.kv.expire(now, self.options.session_ttl);
    }

    /// Forgets a session's KV and epoch. A round that it has goes on and leaves no session behind.
    pub fn drop_session(&mut self, session: &str) {
        self.kv.drop_session(session);
    }

    /// Puts a round into the queue, behind all others.
    pub(super) fn queue(&mut self, id: RoundId) {
        let age = self.next_age;
        self.next_age += 1;
        if let Some(round) = self.rounds.get_mut(&id) {
            round.state = State::Waiting { age };
            self.waiting.insert(age, id);
        }
    }

    /// Removes a round and gives its blocks back; a session keeps the first `keep` tokens.
    pub(super) fn end(&mut self, id: RoundId, keep: usize) {
        let Some(mut round) = self.rounds.remove(&id) else { return };
        if let Some(age) = round.age() {
            self.waiting.remove(&age);
            self.running.remove(&age);
        }
        let mut tokens = std::mem::take(&mut round.tokens);
        if let Some(session) = round.session() {
            tokens.truncate(keep);
            let blocks = round.blocks[..keep.div_ceil(BLOCK_TOKENS)].to_vec();
            self.kv.end_round(session, id.0, Sequence { salt: round.salt, blocks, tokens });
        }
        let (active, leased) = round.blocks.split_at(round.blocks.len() - round.leased);
        self.kv.release(leased, Holder::Leased);
        self.kv.release(active, Holder::Active);
    }

    pub(super) fn round(&self, id: RoundId) -> Result<&Round, EngineError> {
        self.rounds.get(&id).ok_or(EngineError::UnknownRound(id))
    }

    pub(super) fn next_id(&mut self) -> RoundId {
        self.next_round += 1;
        RoundId(self.next_round)
    }

    /// Whether one more round with so many tokens can be held at all.
    pub(super) fn check_room(&self, tokens: usize) -> Result<(), EngineError> {
        if self.rounds.len() >= self.options.max_open {
            return Err(EngineError::TooManyRounds { limit: self.options.max_open });
        }
        let (needed, total) = (tokens.div_ceil(BLOCK_TOKENS), self.kv.ledger().total);
        if needed > total {
            return Err(EngineError::KvExhausted { needed, free: total });
        }
        Ok(())
    }

    /// Whether the tokens are some, fit the context together with the output, and lie in the vocabulary.
    pub(super) fn check_tokens(&self, tokens: &[u32], max_tokens: usize) -> Result<(), EngineError> {
        let config = self.backend.config();
        if tokens.is_empty() {
            let reason = "must not be empty".to_owned();
            return Err(EngineError::InvalidParameter { field: "tokens", reason });
        }
        if tokens.len().saturating_add(max_tokens) > config.max_context {
            let (prompt, limit) = (tokens.len(), config.max_context);
            return Err(EngineError::ContextLength { prompt, max_tokens, limit });
        }
        match tokens.iter().position(|&id| id as usize >= config.vocab) {
            Some(index) => Err(EngineError::InvalidToken { index, id: tokens[index], vocab: config.vocab }),
            None => Ok(()),
        }
    }

    fn check_request(&self, request: &RoundRequest) -> Result<(), EngineError> {
        self.check_tokens(&request.tokens, request.max_tokens)?;
        request.sampling.validate(self.backend.config().vocab)?;
        for (field, top) in [("logprobs", request.logprobs), ("prompt_logprobs", request.prompt_logprobs)] {
            if top.is_some_and(|top| top > MAX_TOP_LOGPROBS) {
                let reason = format!("must be at most {MAX_TOP_LOGPROBS}");
                return Err(EngineError::InvalidParameter { field, reason });
            }
        }
        if request.stop_tokens.len() > MAX_STOP_TOKENS {
            let reason = format!("may name at most {MAX_STOP_TOKENS} tokens");
            return Err(EngineError::InvalidParameter { field: "stop_tokens", reason });
        }
        Ok(())
    }

    pub(super) fn check_session(&self, session: &str, epoch: u64) -> Result<(), EngineError> {
        if session.len() > MAX_SESSION_NAME {
            let reason = format!("must be at most {MAX_SESSION_NAME} bytes, is {}", session.len());
            return Err(EngineError::InvalidParameter { field: "session", reason });
        }
        match self.kv.sessions().epoch(session) {
            Some(current) if epoch < current => Err(EngineError::StaleEpoch { current }),
            _ => Ok(()),
        }
    }

    pub(super) fn bind_session(&mut self, session: &str, epoch: u64) -> Result<(), EngineError> {
        let limit = self.options.max_sessions;
        if self.kv.bind(session, epoch, limit) { Ok(()) } else { Err(EngineError::TooManySessions { limit }) }
    }
}

pub(super) fn wrong_state(round: &Round, expected: &'static str) -> EngineError {
    EngineError::WrongState { round: round.id, state: round.state_name(), expected }
}
