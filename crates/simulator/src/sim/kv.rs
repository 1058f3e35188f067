//! A worker's KV memory: blocks that are free, active or cached, and the sessions that hold them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

/// What a session holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Tokens whose KV is valid.
    tokens: u32,
    blocks: u64,
    /// Its place in the order of use while idle, `None` while a round uses it.
    idle: Option<u64>,
}

/// The memory. Sessions that no round uses are cached whole, and given up whole, the longest unused first.
#[derive(Debug)]
pub(super) struct KvMemory {
    block_tokens: u64,
    total: u64,
    free: u64,
    cached: u64,
    active: u64,
    /// By number, which nobody chooses to collide.
    sessions: FxHashMap<u32, Held>,
    idle: BTreeMap<u64, u32>,
    uses: u64,
    /// Tokens of idle sessions that were given up.
    pub evicted_tokens: u64,
}

impl KvMemory {
    pub(super) fn new(tokens: u64, block_tokens: u32) -> Self {
        let block_tokens = u64::from(block_tokens);
        let total = tokens / block_tokens;
        Self {
            block_tokens,
            total,
            free: total,
            cached: 0,
            active: 0,
            sessions: FxHashMap::default(),
            idle: BTreeMap::new(),
            uses: 0,
            evicted_tokens: 0,
        }
    }

    fn blocks(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.block_tokens)
    }

    /// Tokens of the session whose KV is here.
    pub(super) fn held(&self, session: u32) -> u32 {
        self.sessions.get(&session).map_or(0, |held| held.tokens)
    }

    /// Tokens that are free or could be freed at once.
    pub(super) fn available_tokens(&self) -> u64 {
        (self.free + self.cached) * self.block_tokens
    }

    /// Whether so many tokens could ever be held.
    pub(super) fn fits(&self, tokens: u64) -> bool {
        self.blocks(tokens) <= self.total
    }

    /// Takes blocks for `tokens` of a session whose first `keep` are still valid, and how many of them are here.
    /// `None`, and nothing changed, if they cannot be had.
    pub(super) fn claim(&mut self, session: u32, keep: u32, tokens: u32) -> Option<u32> {
        let held = self.sessions.get(&session).copied();
        if held.is_some_and(|held| held.idle.is_none()) {
            return None;
        }
        let own = held.map_or(0, |held| held.blocks);
        let needed = self.blocks(u64::from(tokens));
        if self.free + self.cached < needed {
            return None;
        }
        if let Some(place) = held.and_then(|held| held.idle) {
            self.idle.remove(&place);
            self.cached -= own;
            self.free += own;
        }
        self.make_free(needed);
        self.free -= needed;
        self.active += needed;
        let tokens_held = held.map_or(0, |held| held.tokens).min(keep).min(tokens);
        self.sessions.insert(session, Held { tokens: tokens_held, blocks: needed, idle: None });
        Some(tokens_held)
    }

    /// Takes `blocks` for rounds that grow, without saying whose they are; [`Self::release`] does. Whether they could
    /// be had.
    pub(super) fn grow(&mut self, blocks: u64) -> bool {
        if self.free + self.cached < blocks {
            return false;
        }
        self.make_free(blocks);
        self.free -= blocks;
        self.active += blocks;
        true
    }

    /// Ends the use of a session that now holds `tokens` valid tokens in `blocks` blocks; they stay cached until others
    /// need them, or are dropped at once.
    pub(super) fn release(&mut self, session: u32, tokens: u32, blocks: u64, cache: bool) {
        self.active -= blocks;
        if cache && tokens > 0 {
            let kept = self.blocks(u64::from(tokens)).min(blocks);
            self.free += blocks - kept;
            self.cached += kept;
            self.uses += 1;
            self.idle.insert(self.uses, session);
            self.sessions.insert(session, Held { tokens, blocks: kept, idle: Some(self.uses) });
        } else {
            self.free += blocks;
            self.sessions.remove(&session);
        }
    }

    /// Gives up a session that no round uses; the tokens that it held.
    pub(super) fn give_up(&mut self, session: u32) -> u32 {
        let Some(place) = self.sessions.get(&session).and_then(|held| held.idle) else { return 0 };
        self.idle.remove(&place);
        self.sessions.remove(&session).map_or(0, |held| {
            self.cached -= held.blocks;
            self.free += held.blocks;
            held.tokens
        })
    }

    /// Takes in a session's KV from elsewhere, where there is room.
    pub(super) fn take_in(&mut self, session: u32, tokens: u32) {
        self.give_up(session);
        if self.claim(session, 0, tokens).is_some() {
            self.release(session, tokens, self.blocks_of(session), true);
        }
    }

    /// Blocks that a session holds.
    pub(super) fn blocks_of(&self, session: u32) -> u64 {
        self.sessions.get(&session).map_or(0, |held| held.blocks)
    }

    fn make_free(&mut self, blocks: u64) {
        while self.free < blocks {
            let Some((_, session)) = self.idle.pop_first() else { return };
            self.evicted_tokens += u64::from(self.give_up(session));
        }
    }

    /// Whether every block is in exactly one class.
    pub(super) fn intact(&self) -> bool {
        let cached: u64 =
            self.sessions.values().filter(|held| held.idle.is_some()).map(|held| held.blocks).sum();
        self.free + self.active + self.cached == self.total
            && cached == self.cached
            && self.idle.len() == self.sessions.values().filter(|held| held.idle.is_some()).count()
    }

    /// Blocks that sessions in use have claimed.
    pub(super) fn claimed(&self) -> u64 {
        self.sessions.values().filter(|held| held.idle.is_none()).map(|held| held.blocks).sum()
    }

    /// Blocks that rounds use.
    pub(super) fn active(&self) -> u64 {
        self.active
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_session_finds_what_it_left_and_loses_the_oldest_first() {
        let mut kv = KvMemory::new(320, 32);
        assert_eq!(kv.claim(1, 0, 100), Some(0));
        kv.release(1, 100, kv.blocks_of(1), true);
        assert_eq!(kv.claim(2, 0, 100), Some(0));
        kv.release(2, 100, kv.blocks_of(2), true);
        assert_eq!(kv.claim(1, 90, 120), Some(90));
        assert_eq!(kv.held(2), 100);
        assert_eq!(kv.claim(3, 0, 100), Some(0));
        assert_eq!((kv.held(2), kv.evicted_tokens), (0, 100));
        assert_eq!(kv.claim(4, 0, 100), None);
        assert!(kv.intact() && !kv.fits(321) && kv.fits(320));
    }

    proptest! {
        #[test]
        fn blocks_are_conserved_whatever_happens(
            steps in prop::collection::vec((0u32..6, 0u32..4, 0u32..200, any::<bool>()), 0..200),
        ) {
            let (mut kv, mut grown) = (KvMemory::new(640, 32), HashMap::new());
            for (session, what, tokens, cache) in steps {
                match what {
                    0 | 1 => {
                        let before = kv.held(session);
                        if let Some(held) = kv.claim(session, 150, tokens) {
                            prop_assert!(held <= before.min(150).min(tokens));
                            grown.insert(session, 0);
                        }
                    }
                    2 => {
                        if let Some(more) = grown.get_mut(&session)
                            && kv.grow(1)
                        {
                            *more += 1;
                        }
                    }
                    _ => {
                        if let Some(more) = grown.remove(&session) {
                            let blocks = kv.blocks_of(session) + more;
                            kv.release(session, tokens.min(blocks as u32 * 32), blocks, cache);
                        }
                    }
                }
                prop_assert!(kv.intact());
                let active: u64 = grown.iter().map(|(session, more)| kv.blocks_of(*session) + more).sum();
                prop_assert_eq!(active, kv.active());
            }
        }
    }
}
