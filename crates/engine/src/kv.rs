//! The KV pool's bookkeeping: who holds which block, what may be reused, what is given up first.

mod ledger;

pub use ledger::{Ledger, LedgerError};
