//! The transfer's side of a lease.

use std::sync::Arc;

use tokio::time::Instant;

use super::state::{Record, State};
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

    /// Begins a read or write of the store, which the lease must still allow.
    pub(crate) fn begin(&self) -> Result<Operation<'_>, LeaseEnd> {
        self.record.change(|state| {
            state.check(Instant::now())?;
            state.operations += 1;
            Ok(())
        })?;
        Ok(Operation { record: &self.record })
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

/// A read or write of the store that is under way; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    record: &'a Record,
}

impl Operation<'_> {
    /// Counts bytes that were read.
    pub(crate) fn pulled(&self, bytes: usize) {
        self.count(|state| state.status.pulled_bytes += bytes as u64);
    }

    /// Counts bytes that were written.
    pub(crate) fn pushed(&self, bytes: usize) {
        self.count(|state| state.status.pushed_bytes += bytes as u64);
    }

    fn count(&self, count: impl FnOnce(&mut State)) {
        self.record.change(count);
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        self.record.change(|state| state.operations -= 1);
    }
}
