//! The owner's side of a lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::state::Record;
use super::{LeaseEnd, MAX_LEASE, Table};
use crate::Handle;

/// A lease in the hands of its owner. Dropping it releases it.
#[derive(Debug)]
pub struct Lease {
    handle: Handle,
    record: Arc<Record>,
    table: Arc<Table>,
}

impl Lease {
    pub(super) fn new(handle: Handle, record: Arc<Record>, table: Arc<Table>) -> Self {
        Self { handle, record, table }
    }

    /// What the client opens it with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Lets the lease last for `ttl` from now, at most [`MAX_LEASE`].
    ///
    /// # Errors
    /// How the lease ended, if it has.
    pub fn renew(&self, ttl: Duration) -> Result<(), LeaseEnd> {
        let now = Instant::now();
        self.record.change(|state| {
            state.check(now)?;
            state.deadline = now + ttl.min(MAX_LEASE);
            Ok(())
        })
    }

    /// Ends the lease: the client can neither read nor write from now on, except for reads and writes of the store that
    /// are under way. Does nothing to a lease that has ended.
    pub fn release(&self) {
        self.record.end(LeaseEnd::Released);
    }

    /// Waits until the lease has ended: complete, released, expired or failed.
    pub async fn ended(&self) -> LeaseEnd {
        self.record.ended().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
        self.table.forget(&self.handle);
    }
}
