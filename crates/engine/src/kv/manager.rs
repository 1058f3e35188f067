//! Blocks, prefix cache and sessions together: allocation with eviction, sharing, copy-on-write.

use std::time::{Duration, Instant};

use super::blocks::{BlockPool, Class, Holder};
use super::chain::ChainHash;
use super::prefix::PrefixCache;
use super::sessions::{Sequence, SessionTable};
use super::stamp::{Clock, Stamp};
use super::{Ledger, LedgerError};
use crate::backend::BLOCK_TOKENS;

/// Too few blocks even when everything cached is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Blocks asked for.
    pub needed: usize,
    /// Blocks that could be had.
    pub available: usize,
}

/// How a block became its holder's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusive {
    /// It can be written in place.
    InPlace,
    /// The holder now holds this block instead and must copy the content before it does anything else.
    CopyTo(u32),
}

/// The books of one KV pool.
pub struct KvManager {
    pool: BlockPool,
    prefix: PrefixCache,
    sessions: SessionTable,
    clock: Clock,
    /// The first contradiction found; the books cannot be trusted after it.
    broken: Option<LedgerError>,
}

impl KvManager {
    /// Books of an empty pool.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        Self {
            pool: BlockPool::new(blocks),
            prefix: PrefixCache::default(),
            sessions: SessionTable::default(),
            clock: Clock::default(),
            broken: None,
        }
    }

    /// Blocks by class.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.pool.ledger()
    }

    /// The session table.
    #[must_use]
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Moves the time forward.
    pub fn advance(&mut self, now: Instant) {
        self.clock.advance(now);
    }

    /// Adds a holder to each block.
    pub fn retain(&mut self, blocks: &[u32], holder: Holder) {
        for &block in blocks {
            self.pool.retain(block, holder);
            self.prefix.set_loose(block, false);
        }
    }

    /// Takes a holder away from each block of a sequence, and notes their use: the sequence's start counts as used
    /// last, since without it the rest cannot be found.
    pub fn release(&mut self, blocks: &[u32], holder: Holder) {
        for &block in blocks.iter().rev() {
            self.prefix.touch(block, self.clock.stamp());
            self.release_one(block, holder);
        }
    }

    /// Turns one kind of hold on each block into another.
    pub fn convert(&mut self, blocks: &[u32], from: Holder, to: Holder) {
        self.retain(blocks, to);
        for &block in blocks {
            self.release_one(block, from);
        }
    }

    /// Whether `count` more blocks could be taken beside `blocks`, if these were held.
    ///
    /// # Errors
    /// When free and cached blocks are fewer.
    pub fn check_available(&self, blocks: &[u32], count: usize) -> Result<(), Short> {
        let cached = blocks.iter().filter(|&&block| self.pool.class(block) == Class::Cached).count();
        let available = self.ledger().available() - cached;
        if available < count { Err(Short { needed: count, available }) } else { Ok(()) }
    }

    fn release_one(&mut self, block: u32, holder: Holder) {
        if let Err(error) = self.pool.release(block, holder) {
            self.broken.get_or_insert(error);
            return;
        }
        let alone = self.pool.holders(block) == 1 && self.pool.held_by(block, Holder::Prefix) == 1;
        self.prefix.set_loose(block, alone);
    }

    /// Takes `count` blocks, giving up what is cached and was not used for longest; all or none.
    ///
    /// # Errors
    /// When free and cached blocks are fewer.
    pub fn allocate(&mut self, count: usize, holder: Holder) -> Result<Vec<u32>, Short> {
        let available = self.ledger().available();
        if available < count {
            return Err(Short { needed: count, available });
        }
        while self.ledger().free < count && self.evict(None) {}
        Ok((0..count).filter_map(|_| self.pool.take(holder)).collect())
    }

    /// The same, giving up only what was used last before `before`, and nothing without it. What was given up stays so
    /// when there is too little of it.
    ///
    /// # Errors
    /// When fewer can be had in this way.
    pub fn allocate_unused(
        &mut self,
        count: usize,
        holder: Holder,
        before: Option<Instant>,
    ) -> Result<Vec<u32>, Short> {
        // Nothing is given up in vain where even everything would not do.
        if self.ledger().available() >= count && before.is_some() {
            while self.ledger().free < count && self.evict(before) {}
        }
        let free = self.ledger().free;
        if free < count {
            return Err(Short { needed: count, available: free });
        }
        Ok((0..count).filter_map(|_| self.pool.take(holder)).collect())
    }

    /// Gives up the last block of the least recently used session, or the least recently used prefix block, whichever
    /// was used longer ago. False when there is nothing to give up that was used before `before`.
    fn evict(&mut self, before: Option<Instant>) -> bool {
        let pool = &self.pool;
        let yields = |used: Stamp| before.is_none_or(|before| used.is_before(before));
        let session = self.sessions.oldest_holding(|block| pool.class(block) == Class::Cached);
        let session = session.filter(|(used, _)| yields(*used));
        match (session, self.prefix.oldest_loose().filter(|(used, _)| yields(*used))) {
            (Some((session_used, _)), Some((prefix_used, block))) if prefix_used < session_used => {
                self.unseal(block);
            }
            (None, Some((_, block))) => self.unseal(block),
            (Some((_, name)), _) => self.shorten(&name),
            // Cached blocks may lie before a session's last block that is in use.
            (None, None) => match self.sessions.oldest_holding(|_| true).filter(|(used, _)| yields(*used)) {
                Some((_, name)) => self.shorten(&name),
                None => return false,
            },
        }
        true
    }

    /// Gives up a session's last block, so that what is left is still a usable sequence.
    fn shorten(&mut self, name: &str) {
        let kept = self.sessions.sequence(name).map_or(0, |held| held.blocks.len().saturating_sub(1));
        for block in self.sessions.truncate(name, kept) {
            self.release_one(block, Holder::Session);
            if self.pool.holders(block) == 1 {
                self.unseal(block);
            }
        }
    }

    /// Takes a block out of the prefix cache, if it is in.
    fn unseal(&mut self, block: u32) {
        if self.prefix.remove(block) {
            self.release_one(block, Holder::Prefix);
        }
    }

    /// Takes blocks out of the prefix cache, as far as they are in.
    pub fn unseal_all(&mut self, blocks: &[u32]) {
        for &block in blocks {
            self.unseal(block);
        }
    }

    /// Makes an active block writable by its one round: nobody else may hold it.
    ///
    /// # Errors
    /// When another round holds it too and there is no block for a copy.
    pub fn make_exclusive(&mut self, block: u32) -> Result<Exclusive, Short> {
        if self.pool.holders(block) == 1 {
            return Ok(Exclusive::InPlace);
        }
        if let Ok([copy]) = self.allocate(1, Holder::Active).as_deref() {
            self.release(&[block], Holder::Active);
            return Ok(Exclusive::CopyTo(*copy));
        }
        // Without room for a copy the cache gives its share of the original up.
        self.unseal(block);
        for (name, place) in self.sessions.holders_of(block) {
            for cut in self.sessions.truncate(&name, place) {
                self.release_one(cut, Holder::Session);
            }
        }
        if self.pool.holders(block) == 1 {
            return Ok(Exclusive::InPlace);
        }
        Err(Short { needed: 1, available: self.ledger().available() })
    }

    /// The blocks of the prefix cache that hold the longest start of `tokens`, in whole blocks. They are not held for
    /// the caller, and this is no use of them. `chain` holds hashes of whole blocks of `tokens` from the start, as far as
    /// they are known; it grows by those that are needed.
    #[must_use]
    pub fn find_prefix(&self, salt: &[u8; 32], tokens: &[u32], chain: &mut Vec<ChainHash>) -> Vec<u32> {
        let mut parent = ChainHash::root(salt);
        let mut blocks = Vec::new();
        for (place, content) in tokens.chunks_exact(BLOCK_TOKENS).enumerate() {
            if chain.len() == place {
                chain.push(parent.next(content));
            }
            let hash = chain[place];
            let Some(block) = self.prefix.find(&hash, &parent, content) else { break };
            blocks.push(block);
            parent = hash;
        }
        blocks
    }

    /// Puts a whole, valid block that the caller holds into the prefix cache, unless its content is there already.
    /// Returns the chain's next link.
    pub fn seal(&mut self, parent: ChainHash, content: &[u32], block: u32) -> ChainHash {
        let hash = parent.next(content);
        if self.prefix.insert(hash, parent, content, block, self.clock.stamp()) {
            self.pool.retain(block, Holder::Prefix);
        }
        hash
    }

    /// Makes or rebinds a session, dropping the least recently used idle one when there are `limit` already. False when
    /// none can be dropped.
    pub fn bind(&mut self, name: &str, epoch: u64, limit: usize) -> bool {
        if self.sessions.epoch(name).is_none() && self.sessions.count() >= limit {
            let Some((_, oldest)) = self.sessions.oldest_idle() else { return false };
            self.drop_session(&oldest);
        }
        let used = self.clock.stamp();
        self.sessions.bind(name, epoch, used);
        true
    }

    /// Gives a session a round. What is here of the prompt's first `limit` tokens, in the session at token precision or
    /// in the prefix cache at block precision, is held for the round; the session's own holds end. Returns the tokens
    /// found and their blocks, the last of which may be partly used.
    pub fn begin_round(
        &mut self,
        name: &str,
        round: u64,
        salt: &[u8; 32],
        tokens: &[u32],
        limit: usize,
    ) -> (usize, Vec<u32>) {
        let own = self.sessions.begin(name, round);
        let shared = self.find_prefix(salt, &tokens[..limit], &mut Vec::new());
        let common = if own.salt == *salt {
            own.tokens.iter().zip(&tokens[..limit]).take_while(|(held, asked)| held == asked).count()
        } else {
            0
        };
        let (history, blocks) = if common >= shared.len() * BLOCK_TOKENS {
            (common, own.blocks[..common.div_ceil(BLOCK_TOKENS)].to_vec())
        } else {
            (shared.len() * BLOCK_TOKENS, shared)
        };
        self.retain(&blocks, Holder::Active);
        self.release(&own.blocks, Holder::Session);
        (history, blocks)
    }

    /// Ends a session's round, leaving `sequence` with the session. The round's own holds are not touched. Nothing is
    /// kept when the session was dropped meanwhile.
    pub fn end_round(&mut self, name: &str, round: u64, sequence: Sequence) {
        if self.sessions.has_round(name, round) {
            self.retain(&sequence.blocks, Holder::Session);
            let used = self.clock.stamp();
            self.sessions.end(name, sequence, used);
        }
    }

    /// Forgets a session.
    pub fn drop_session(&mut self, name: &str) {
        // This is no use of its blocks: those in the prefix cache keep the time of their last one.
        for block in self.sessions.remove(name).unwrap_or_default().blocks {
            self.release_one(block, Holder::Session);
        }
    }

    /// Takes from an idle session what it holds, and raises its epoch.
    pub fn release_session(&mut self, name: &str, epoch: u64) {
        let used = self.clock.stamp();
        self.sessions.bind(name, epoch, used);
        // This is no use of its blocks: those in the prefix cache keep the time of their last one.
        for block in self.sessions.truncate(name, 0) {
            self.release_one(block, Holder::Session);
        }
    }

    /// Forgets idle sessions and unshared prefix blocks that were not used for `ttl`.
    pub fn expire(&mut self, now: Instant, ttl: Duration) {
        self.clock.advance(now);
        while let Some((used, name)) = self.sessions.oldest_idle() {
            if !used.is_older(now, ttl) {
                break;
            }
            self.drop_session(&name);
        }
        while let Some((used, block)) = self.prefix.oldest_loose() {
            if !used.is_older(now, ttl) {
                break;
            }
            self.unseal(block);
        }
    }

    /// The first contradiction met, if any.
    ///
    /// # Errors
    /// That contradiction.
    pub fn intact(&self) -> Result<(), LedgerError> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Recounts all holders. `rounds` are the blocks that rounds hold, each with the kind of hold, with repetitions.
    ///
    /// # Errors
    /// What contradicts the books.
    pub fn check(&self, rounds: impl Iterator<Item = (u32, Holder)>) -> Result<(), LedgerError> {
        self.intact()?;
        let ledger = self.ledger();
        let mut found = vec![[0_u32; 4]; ledger.total];
        let sessions = self.sessions.blocks().map(|block| (block, Holder::Session));
        let prefix = self.prefix.blocks().map(|block| (block, Holder::Prefix));
        for (block, holder) in rounds.chain(sessions).chain(prefix) {
            found[block as usize][holder as usize] += 1;
        }
        let mut classes = Ledger { total: ledger.total, ..Ledger::default() };
        for (block, found) in found.iter().enumerate() {
            let block = block as u32;
            for holder in Holder::ALL {
                let (counted, found) = (self.pool.held_by(block, holder), found[holder as usize]);
                if counted != found {
                    return Err(LedgerError::Holders { block, class: holder.name(), counted, found });
                }
            }
            match self.pool.class(block) {
                Class::Active => classes.active += 1,
                Class::Leased => classes.leased += 1,
                Class::Cached => classes.cached += 1,
                Class::Free => classes.free += 1,
            }
        }
        if classes != ledger || !ledger.balances() {
            return Err(LedgerError::Sum(ledger));
        }
        Ok(())
    }
}
