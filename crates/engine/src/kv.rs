//! The KV pool's bookkeeping: who holds which block, what may be reused, what is given up first.
//!
//! Invariants: every block is in exactly one class (`free + active + leased + cached = total`); a block in the prefix
//! cache is whole, valid and never written again; a block that a round writes is held by that round alone.

mod blocks;
mod chain;
mod ledger;
mod manager;
mod prefix;
mod sessions;
mod stamp;
#[cfg(test)]
mod tests;

pub(crate) use blocks::Holder;
pub(crate) use chain::ChainHash;
pub use ledger::{Ledger, LedgerError};
pub(crate) use manager::{Exclusive, KvManager, Short};
pub(crate) use sessions::Sequence;
