//! Leases: for how long a prefill worker may read and write a round's KV.

mod lease;
mod opened;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use lease::Lease;
pub(crate) use opened::Opened;
pub use state::LeaseEnd;
use state::Record;

use crate::{Handle, Reason};

/// The longest time for which a lease is granted or renewed.
pub const MAX_LEASE: Duration = Duration::from_secs(15);

/// What a lease allows: reading the KV of `0..history` and writing that of `history..end`, in every layer of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The round, as the [`crate::KvStore`] knows it.
    pub round: u64,
    /// SAN URI of the certificate that may open it.
    pub requester: String,
    /// Tokens whose KV the owner has.
    pub history: usize,
    /// One past the last token whose KV the client computes.
    pub end: usize,
}

/// Why no lease was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The table is full.
    #[error("{limit} leases are held already")]
    Full {
        /// Leases that can be held at once.
        limit: usize,
    },
    /// The range is empty, or larger than the protocol can name.
    #[error("tokens {history}..{end} cannot be leased")]
    Range {
        /// First token.
        history: usize,
        /// One past the last.
        end: usize,
    },
}

/// The owner's leases: a bounded table. Clones share it.
#[derive(Debug, Clone)]
pub struct Leases {
    table: Arc<Table>,
}

#[derive(Debug)]
pub(crate) struct Table {
    limit: usize,
    records: Mutex<HashMap<Handle, Arc<Record>>>,
}

impl Table {
    fn forget(&self, handle: &Handle) {
        self.records.lock().remove(handle);
    }
}

impl Leases {
    /// A table for at most `limit` leases that their owners hold.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { table: Arc::new(Table { limit, records: Mutex::default() }) }
    }

    /// Grants a lease for `ttl`, at most [`MAX_LEASE`]. Dropping it releases it.
    ///
    /// # Errors
    /// When the table is full or the grant's range is empty.
    pub fn grant(&self, grant: Grant, ttl: Duration) -> Result<Lease, GrantError> {
        let (history, end) = (grant.history, grant.end);
        if history >= end || u32::try_from(end).is_err() {
            return Err(GrantError::Range { history, end });
        }
        let limit = self.table.limit;
        let mut records = self.table.records.lock();
        if records.len() >= limit {
            return Err(GrantError::Full { limit });
        }
        let handle = Handle::random();
        let record = Arc::new(Record::new(grant, Instant::now() + ttl.min(MAX_LEASE)));
        records.insert(handle, record.clone());
        drop(records);
        Ok(Lease::new(handle, record, self.table.clone()))
    }

    /// Leases that have not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        let records: Vec<_> = self.table.records.lock().values().cloned().collect();
        records.iter().filter(|record| record.check().is_ok()).count()
    }

    /// Opens a lease for the peer whose certificate has this SAN URI. A handle opens once.
    pub(crate) fn open(&self, handle: &Handle, requester: &str) -> Result<Opened, Reason> {
        let record = self.table.records.lock().get(handle).cloned().ok_or(Reason::UnknownHandle)?;
        // A stranger learns nothing about the lease, and does not use it up.
        if record.grant.requester != requester {
            return Err(Reason::Requester);
        }
        record.open()?;
        Ok(Opened::new(record))
    }
}
