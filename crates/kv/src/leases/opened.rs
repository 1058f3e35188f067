//! The transfer's side of a lease.

use std::sync::Arc;

use super::state::Record;
use super::{Grant, LeaseEnd};
use crate::Reason;

/// A lease that a client has opened. If it is dropped before the lease has ended, the lease ends as failed.
#[derive(Debug)]
pub(crate) struct Opened {
    record: Arc<Record>,
}

impl Opened {
    pub(super) fn new(record: Arc<Record>) -> Self {
        Self { record }
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.record.grant
    }

    /// Waits until the lease has ended.
    pub(crate) async fn ended(&self) -> LeaseEnd {
        self.record.ended().await
    }

    /// Whether a read or write of the store may begin.
    pub(crate) fn check(&self) -> Result<(), LeaseEnd> {
        self.record.check()
    }

    /// Ends the lease, if it has not ended otherwise; then how it ended.
    pub(crate) fn end(&self, end: LeaseEnd) -> LeaseEnd {
        self.record.end(end)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.record.end(LeaseEnd::Failed(Reason::Disconnected));
    }
}
