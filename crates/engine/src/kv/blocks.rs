//! The pool's blocks: how many holders of each kind a block has, and hence its class.

use super::{Ledger, LedgerError};

/// Why a block is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// An opened or running round refers to it.
    Active,
    /// It is reserved for KV that arrives from another worker.
    Leased,
    /// An idle session keeps it.
    Session,
    /// The prefix cache keeps it.
    Prefix,
}

impl Holder {
    pub(super) const ALL: [Self; 4] = [Self::Active, Self::Leased, Self::Session, Self::Prefix];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Leased => "leased",
            Self::Session => "session",
            Self::Prefix => "prefix",
        }
    }
}

/// A block's class, by precedence: active, leased, cached, free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A round refers to it.
    Active,
    /// Reserved for arriving KV.
    Leased,
    /// Only a session or the prefix cache holds it.
    Cached,
    /// Nobody holds it.
    Free,
}

/// Holders of one block, by kind.
type Holders = [u32; 4];

fn class_of(holders: &Holders) -> Class {
    match *holders {
        [0, 0, 0, 0] => Class::Free,
        [0, 0, _, _] => Class::Cached,
        [0, _, _, _] => Class::Leased,
        _ => Class::Active,
    }
}

/// Reference counts of all blocks, with the ledger kept beside them.
#[derive(Debug)]
pub struct BlockPool {
    holders: Vec<Holders>,
    free: Vec<u32>,
    ledger: Ledger,
}

impl BlockPool {
    /// A pool of free blocks.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        Self {
            holders: vec![[0; 4]; blocks],
            // Taken from the end, so that low numbers go first.
            free: (0..blocks as u32).rev().collect(),
            ledger: Ledger { total: blocks, free: blocks, ..Ledger::default() },
        }
    }

    /// Blocks by class.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Takes a free block for its first holder.
    pub fn take(&mut self, holder: Holder) -> Option<u32> {
        let block = self.free.pop()?;
        self.change(block, |holders| holders[holder as usize] += 1);
        Some(block)
    }

    /// Adds a holder to a block that has one already.
    pub fn retain(&mut self, block: u32, holder: Holder) {
        self.change(block, |holders| holders[holder as usize] += 1);
    }

    /// Takes a holder away; without any left the block is free.
    ///
    /// # Errors
    /// When the block has no holder of that kind.
    pub fn release(&mut self, block: u32, holder: Holder) -> Result<(), LedgerError> {
        let held = self.holders.get(block as usize).is_some_and(|holders| holders[holder as usize] > 0);
        if !held {
            return Err(LedgerError::NotHeld { block, class: holder.name() });
        }
        self.change(block, |holders| holders[holder as usize] -= 1);
        if self.class(block) == Class::Free {
            self.free.push(block);
        }
        Ok(())
    }

    /// The block's class.
    #[must_use]
    pub fn class(&self, block: u32) -> Class {
        class_of(&self.holders[block as usize])
    }

    /// Holders of any kind.
    #[must_use]
    pub fn holders(&self, block: u32) -> u32 {
        self.holders[block as usize].iter().sum()
    }

    /// Holders of one kind.
    #[must_use]
    pub fn held_by(&self, block: u32, holder: Holder) -> u32 {
        self.holders[block as usize][holder as usize]
    }

    fn change(&mut self, block: u32, change: impl FnOnce(&mut Holders)) {
        let holders = &mut self.holders[block as usize];
        let before = class_of(holders);
        change(holders);
        let after = class_of(holders);
        *self.count(before) -= 1;
        *self.count(after) += 1;
    }

    fn count(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Active => &mut self.ledger.active,
            Class::Leased => &mut self.ledger.leased,
            Class::Cached => &mut self.ledger.cached,
            Class::Free => &mut self.ledger.free,
        }
    }
}
