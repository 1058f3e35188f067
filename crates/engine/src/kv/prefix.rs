//! The prefix cache: whole blocks by the chained hash of their content.

use std::collections::{BTreeMap, HashMap};

use super::chain::ChainHash;
use super::stamp::Stamp;

struct Entry {
    block: u32,
    parent: ChainHash,
    tokens: Box<[u32]>,
    used: Stamp,
    /// Whether the cache is the block's only holder; such entries are in `loose`.
    loose: bool,
}

/// Whole, valid blocks that other sequences may share. It never changes a block's holders itself.
#[derive(Default)]
pub struct PrefixCache {
    entries: HashMap<ChainHash, Entry>,
    /// The entry of each sealed block.
    sealed: HashMap<u32, ChainHash>,
    /// Blocks that nobody else holds, least recently used first.
    loose: BTreeMap<Stamp, u32>,
}

impl PrefixCache {
    /// The block whose content is `tokens` after `parent`. Tokens and parent are compared too: a colliding hash must
    /// not hand over another sequence's KV.
    #[must_use]
    pub fn find(&self, hash: &ChainHash, parent: &ChainHash, tokens: &[u32]) -> Option<u32> {
        let entry = self.entries.get(hash)?;
        (entry.parent == *parent && *entry.tokens == *tokens).then_some(entry.block)
    }

    /// Adds a block that its caller still holds. False, and no change, when the content or the block is there already.
    pub fn insert(
        &mut self,
        hash: ChainHash,
        parent: ChainHash,
        tokens: &[u32],
        block: u32,
        used: Stamp,
    ) -> bool {
        if self.entries.contains_key(&hash) || self.sealed.contains_key(&block) {
            return false;
        }
        self.entries.insert(hash, Entry { block, parent, tokens: tokens.into(), used, loose: false });
        self.sealed.insert(block, hash);
        true
    }

    /// Notes a use of the block.
    pub fn touch(&mut self, block: u32, used: Stamp) {
        let Some(entry) = self.sealed.get(&block).and_then(|hash| self.entries.get_mut(hash)) else { return };
        if entry.loose {
            self.loose.remove(&entry.used);
            self.loose.insert(used, block);
        }
        entry.used = used;
    }

    /// Notes whether the cache is the block's only holder.
    pub fn set_loose(&mut self, block: u32, loose: bool) {
        let Some(entry) = self.sealed.get(&block).and_then(|hash| self.entries.get_mut(hash)) else { return };
        if entry.loose == loose {
            return;
        }
        entry.loose = loose;
        if loose {
            self.loose.insert(entry.used, block);
        } else {
            self.loose.remove(&entry.used);
        }
    }

    /// The least recently used block that nobody else holds.
    #[must_use]
    pub fn oldest_loose(&self) -> Option<(Stamp, u32)> {
        self.loose.first_key_value().map(|(&used, &block)| (used, block))
    }

    /// Takes the block out; false when it is not in. The caller releases the cache's hold.
    pub fn remove(&mut self, block: u32) -> bool {
        let Some(entry) = self.sealed.remove(&block).and_then(|hash| self.entries.remove(&hash)) else {
            return false;
        };
        if entry.loose {
            self.loose.remove(&entry.used);
        }
        true
    }

    /// All blocks in the cache.
    pub fn blocks(&self) -> impl Iterator<Item = u32> {
        self.sealed.keys().copied()
    }
}
