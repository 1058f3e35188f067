//! The bound on requests that are served at once.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::state::Shared;

/// The place of one request; free again when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A place, if there is one.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let permit = shared.places.clone().try_acquire_owned().ok()?;
        shared.metrics.http_inflight.inc();
        Some(Self { shared: shared.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.http_inflight.dec();
    }
}
