//! Sessions that change their worker: what an idle session holds is read here, or taken in here, without a round.

use std::time::{Duration, Instant};

use super::remote::Role;
use super::round::{Filling, Kind, Round, State};
use super::{Engine, EngineError, RemoteRange, RoundId};
use crate::backend::BLOCK_TOKENS;
use crate::kv::Holder;

/// An idle session that holds KV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleSession {
    /// Its name.
    pub name: String,
    /// The epoch that it is bound with.
    pub epoch: u64,
    /// Tokens whose KV it holds.
    pub tokens: usize,
}

/// A session as another engine can take it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedSession {
    /// Its name.
    pub session: String,
    /// The epoch of its binding to whoever takes it in.
    pub epoch: u64,
    /// The salt that its KV belongs to.
    pub salt: [u8; 32],
    /// All tokens whose KV it holds.
    pub tokens: Vec<u32>,
    /// How long ago it was used.
    pub idle: Duration,
}

impl Engine {
    /// Idle sessions that hold KV, at most `limit`, those used last first.
    #[must_use]
    pub fn idle_sessions(&self, limit: usize) -> Vec<IdleSession> {
        let idle = self.kv.sessions().idle_holding().take(limit);
        let told = idle.map(|(name, held)| IdleSession {
            name: name.to_owned(),
            epoch: held.epoch,
            tokens: held.sequence.tokens.len(),
        });
        told.collect()
    }

    /// Sessions that have a round.
    #[must_use]
    pub fn busy_sessions(&self) -> usize {
        self.kv.sessions().busy()
    }

    /// What an idle session holds, with the epoch of its binding here.
    ///
    /// # Errors
    /// `SessionBusy`; `SessionNotHeld` when it is unknown or holds nothing.
    pub fn held_session(&self, session: &str, now: Instant) -> Result<MovedSession, EngineError> {
        if self.kv.sessions().is_busy(session) {
            return Err(EngineError::SessionBusy { session: session.to_owned() });
        }
        let held = self.kv.sessions().idle(session).filter(|held| !held.sequence.tokens.is_empty());
        let held = held.ok_or_else(|| EngineError::SessionNotHeld { session: session.to_owned() })?;
        Ok(MovedSession {
            session: session.to_owned(),
            epoch: held.epoch,
            salt: held.sequence.salt,
            tokens: held.sequence.tokens.clone(),
            idle: held.used.age(now),
        })
    }

    /// Pins an idle session's KV for [`Engine::read_kv`], until the round that this gives is cancelled. The session must
    /// hold these very tokens under this salt.
    ///
    /// # Errors
    /// `TooManyRounds`, `SessionBusy`; `SessionNotHeld` when it holds something else.
    pub fn export_session(
        &mut self,
        session: &str,
        salt: &[u8; 32],
        tokens: Vec<u32>,
        now: Instant,
    ) -> Result<RoundId, EngineError> {
        self.kv.advance(now);
        self.check_room(tokens.len())?;
        if self.kv.sessions().is_busy(session) {
            return Err(EngineError::SessionBusy { session: session.to_owned() });
        }
        let held = self.kv.sessions().sequence(session);
        let held = held.filter(|held| !tokens.is_empty() && held.salt == *salt && held.tokens == tokens);
        let Some(blocks) = held.map(|held| held.blocks.clone()) else {
            return Err(EngineError::SessionNotHeld { session: session.to_owned() });
        };
        self.kv.retain(&blocks, Holder::Active);
        let (id, computed) = (self.next_id(), tokens.len());
        let layers = self.backend.kv_shape().layers;
        let round = Round {
            id,
            kind: Kind::Prefill { shown: computed },
            state: State::Filling(Filling::new(computed..computed, layers)),
            salt: *salt,
            tokens,
            computed,
            blocks,
            leased: 0,
            sealed: 0,
            chain: Vec::new(),
        };
        self.rounds.insert(id, round);
        Ok(id)
    }

    /// Lets a session go that has moved: it holds nothing here any more, and rounds of bindings before `epoch` are
    /// refused. One that is unknown, has a round or a newer binding is left alone.
    pub fn release_session(&mut self, session: &str, epoch: u64, now: Instant) {
        self.kv.advance(now);
        let sessions = self.kv.sessions();
        if !sessions.is_busy(session) && sessions.epoch(session).is_some_and(|current| current <= epoch) {
            self.kv.release_session(session, epoch);
        }
    }

    /// Begins to take a session in. What the prefix cache has of it is pinned; the KV of the tokens in the range is then
    /// written with [`Engine::write_remote`], and [`Engine::keep_session`] ends it. The session counts as busy until then,
    /// or until the round that this gives is cancelled. Only blocks are taken that are free, or that were not used for as
    /// long as the session itself.
    ///
    /// # Errors
    /// `StaleEpoch`, `SessionBusy`, `TooManyRounds`, `TooManySessions`, `ContextLength`, `InvalidToken`,
    /// `InvalidParameter`; `SessionHeld` when KV of it is here; `KvExhausted` when it would take the place of something
    /// that was used later, or when rounds wait for blocks.
    pub fn take_session(
        &mut self,
        moved: MovedSession,
        now: Instant,
    ) -> Result<(RoundId, RemoteRange), EngineError> {
        self.kv.advance(now);
        let MovedSession { session, epoch, salt, tokens, idle } = moved;
        self.check_session(&session, epoch)?;
        self.check_tokens(&tokens, 0)?;
        if self.kv.sessions().is_busy(&session) {
            return Err(EngineError::SessionBusy { session });
        }
        if self.kv.sessions().sequence(&session).is_some_and(|held| !held.tokens.is_empty()) {
            return Err(EngineError::SessionHeld { session });
        }
        self.check_room(tokens.len())?;
        let needed = tokens.len().div_ceil(BLOCK_TOKENS);
        if self.is_short_of_blocks() {
            return Err(EngineError::KvExhausted { needed, free: 0 });
        }
        self.bind_session(&session, epoch)?;
        let id = self.next_id();
        let (history, blocks) = self.kv.begin_round(&session, id.0, &salt, &tokens, tokens.len());
        let range = RemoteRange { history, end: tokens.len() };
        let filling = Filling::new(range.history..range.end, self.backend.kv_shape().layers);
        let missing = needed - blocks.len();
        let round = Round {
            id,
            kind: Kind::Move { session },
            state: State::Filling(filling),
            salt,
            tokens,
            computed: history,
            blocks,
            leased: 0,
            sealed: 0,
            chain: Vec::new(),
        };
        self.rounds.insert(id, round);
        match self.kv.allocate_unused(missing, Holder::Leased, now.checked_sub(idle)) {
            Ok(leased) => {
                if let Some(round) = self.rounds.get_mut(&id) {
                    round.blocks.extend(leased);
                    round.leased = missing;
                }
                Ok((id, range))
            }
            Err(short) => {
                self.end(id, 0);
                Err(short.into())
            }
        }
    }

    /// Accepts the written KV: the session is idle, and holds all of it.
    ///
    /// # Errors
    /// `UnknownRound`, `WrongState`; `IncompleteTransfer` while any layer lacks any token.
    pub fn keep_session(&mut self, id: RoundId, now: Instant) -> Result<(), EngineError> {
        self.kv.advance(now);
        let range = self.filling(id, Role::Move)?.allowed.clone();
        let keep = range.end;
        self.complete(id, Role::Move, range)?;
        self.end(id, keep);
        Ok(())
    }
}
