//! How many blocks are in which class, and what is said when the sums do not hold.

/// Every block of the pool is in exactly one class, so that `free + active + leased + cached = total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Blocks in the pool.
    pub total: usize,
    /// Blocks that nobody holds.
    pub free: usize,
    /// Blocks that an opened or running round refers to.
    pub active: usize,
    /// Blocks reserved for KV that arrives from another worker, and not active.
    pub leased: usize,
    /// Blocks that only a session or the prefix cache holds; given up when others need them.
    pub cached: usize,
}

impl Ledger {
    /// Whether the classes add up.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.free + self.active + self.leased + self.cached == self.total
    }

    /// Blocks that a new holder can get at once.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free + self.cached
    }
}

/// The bookkeeping contradicts itself: a defect of the engine, never of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The classes do not add up.
    #[error("KV ledger does not add up: {0:?}")]
    Sum(Ledger),
    /// A block's count of holders differs from the holders found.
    #[error("KV block {block}: {counted} {class} holders on the books, {found} found")]
    Holders {
        /// The block.
        block: u32,
        /// Which kind of holder.
        class: &'static str,
        /// Holders by the block's own count.
        counted: u32,
        /// Holders found by looking at rounds, sessions and the prefix cache.
        found: u32,
    },
    /// A block was given back by someone who did not hold it.
    #[error("KV block {block} was released by {class}, which does not hold it")]
    NotHeld {
        /// The block.
        block: u32,
        /// Which kind of holder.
        class: &'static str,
    },
}
