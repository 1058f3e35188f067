//! The session table: binding epochs, and the sequence that each idle session keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::stamp::Stamp;

/// A sequence whose KV is in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The tenant's salt that the KV belongs to.
    pub salt: [u8; 32],
    /// The tokens whose KV exists.
    pub tokens: Vec<u32>,
    /// Blocks that cover exactly these tokens.
    pub blocks: Vec<u32>,
}

/// A session.
pub struct Session {
    /// The epoch that it is bound with.
    pub epoch: u64,
    /// The round that the session has, by number; while there is one, `sequence` is empty.
    round: Option<u64>,
    /// What it holds.
    pub sequence: Sequence,
    /// When it was used last.
    pub used: Stamp,
}

/// Sessions by name. It never changes a block's holders itself.
#[derive(Default)]
pub struct SessionTable {
    sessions: HashMap<Arc<str>, Session>,
    /// Sessions without a round, least recently used first.
    idle: BTreeMap<Stamp, Arc<str>>,
    /// Those of them that hold blocks.
    holding: BTreeMap<Stamp, Arc<str>>,
}

impl SessionTable {
    /// Sessions remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// The session's epoch.
    #[must_use]
    pub fn epoch(&self, name: &str) -> Option<u64> {
        self.sessions.get(name).map(|session| session.epoch)
    }

    /// Whether the session has a round.
    #[must_use]
    pub fn is_busy(&self, name: &str) -> bool {
        self.sessions.get(name).is_some_and(|session| session.round.is_some())
    }

    /// Whether the session has just this round.
    #[must_use]
    pub fn has_round(&self, name: &str, round: u64) -> bool {
        self.sessions.get(name).is_some_and(|session| session.round == Some(round))
    }

    /// Sessions that have a round.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.sessions.len() - self.idle.len()
    }

    /// The session, if it has no round.
    #[must_use]
    pub fn idle(&self, name: &str) -> Option<&Session> {
        self.sessions.get(name).filter(|session| session.round.is_none())
    }

    /// Sessions without a round that hold blocks, most recently used first.
    pub fn idle_holding(&self) -> impl Iterator<Item = (&str, &Session)> {
        let named = |name: &'_ Arc<str>| self.sessions.get_key_value(name);
        self.holding.values().rev().filter_map(named).map(|(name, session)| (&**name, session))
    }

    /// The session's sequence; empty while it has a round.
    #[must_use]
    pub fn sequence(&self, name: &str) -> Option<&Sequence> {
        self.sessions.get(name).map(|session| &session.sequence)
    }

    /// Makes the session if it is new, sets its epoch and notes the use.
    pub fn bind(&mut self, name: &str, epoch: u64, used: Stamp) {
        if let Some((key, session)) = self.sessions.get_key_value(name) {
            if session.round.is_none() {
                let key = Arc::clone(key);
                self.unlist(name);
                self.relist(key, epoch, used);
            } else if let Some(session) = self.sessions.get_mut(name) {
                session.epoch = epoch;
            }
        } else {
            let key: Arc<str> = name.into();
            let session = Session { epoch, round: None, sequence: Sequence::default(), used };
            self.sessions.insert(Arc::clone(&key), session);
            self.idle.insert(used, key);
        }
    }

    /// Gives the session a round and takes its sequence out.
    pub fn begin(&mut self, name: &str, round: u64) -> Sequence {
        self.unlist(name);
        let Some(session) = self.sessions.get_mut(name) else { return Sequence::default() };
        session.round = Some(round);
        std::mem::take(&mut session.sequence)
    }

    /// Ends the session's round and leaves a sequence with it.
    pub fn end(&mut self, name: &str, sequence: Sequence, used: Stamp) {
        let Some((key, _)) = self.sessions.get_key_value(name) else { return };
        let key = Arc::clone(key);
        if let Some(session) = self.sessions.get_mut(name) {
            session.round = None;
            session.sequence = sequence;
            let epoch = session.epoch;
            self.relist(key, epoch, used);
        }
    }

    /// Forgets a session; what it held.
    pub fn remove(&mut self, name: &str) -> Option<Sequence> {
        self.unlist(name);
        self.sessions.remove(name).map(|session| session.sequence)
    }

    /// The least recently used session without a round.
    #[must_use]
    pub fn oldest_idle(&self) -> Option<(Stamp, Arc<str>)> {
        self.idle.first_key_value().map(|(&used, name)| (used, Arc::clone(name)))
    }

    /// The least recently used session that holds blocks and whose last block satisfies `yields`.
    pub fn oldest_holding(&self, yields: impl Fn(u32) -> bool) -> Option<(Stamp, Arc<str>)> {
        let last = |name: &Arc<str>| self.sessions.get(name).and_then(|s| s.sequence.blocks.last().copied());
        let found = self.holding.iter().find(|(_, name)| last(name).is_some_and(&yields));
        found.map(|(&used, name)| (used, Arc::clone(name)))
    }

    /// Cuts the session's sequence to its first `blocks` blocks; the blocks cut off.
    pub fn truncate(&mut self, name: &str, blocks: usize) -> Vec<u32> {
        let Some(session) = self.sessions.get_mut(name) else { return Vec::new() };
        if blocks >= session.sequence.blocks.len() {
            return Vec::new();
        }
        session.sequence.tokens.truncate(blocks * crate::backend::BLOCK_TOKENS);
        let cut = session.sequence.blocks.split_off(blocks);
        if blocks == 0 {
            self.holding.remove(&session.used);
        }
        cut
    }

    /// Sessions that hold the block, each with the block's place.
    #[must_use]
    pub fn holders_of(&self, block: u32) -> Vec<(Arc<str>, usize)> {
        let place = |name: &Arc<str>| {
            let blocks = &self.sessions.get(name)?.sequence.blocks;
            Some((Arc::clone(name), blocks.iter().position(|&held| held == block)?))
        };
        self.holding.values().filter_map(place).collect()
    }

    /// All blocks held by sessions, with repetitions.
    pub fn blocks(&self) -> impl Iterator<Item = u32> {
        self.sessions.values().flat_map(|session| session.sequence.blocks.iter().copied())
    }

    fn unlist(&mut self, name: &str) {
        if let Some(session) = self.sessions.get(name) {
            self.idle.remove(&session.used);
            self.holding.remove(&session.used);
        }
    }

    fn relist(&mut self, key: Arc<str>, epoch: u64, used: Stamp) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.epoch = epoch;
        session.used = used;
        if !session.sequence.blocks.is_empty() {
            self.holding.insert(used, Arc::clone(&key));
        }
        self.idle.insert(used, key);
    }
}
