//! The bounds on requests that are served, and on bodies that are read, at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::Shared;

/// Bodies read at once, for each request that may be served. Slow bodies take up only these.
const READERS: usize = 4;

/// Both bounds.
#[derive(Debug)]
pub(super) struct Places {
    served: Arc<Semaphore>,
    read: Semaphore,
}

impl Places {
    /// Room for `served` requests, and more bodies on their way in.
    pub(super) fn new(served: usize) -> Self {
        Self { served: Arc::new(Semaphore::new(served)), read: Semaphore::new(served * READERS) }
    }

    /// Connections that fill both and still leave some for a word of refusal.
    pub(super) fn connections(served: usize) -> usize {
        served * (READERS + 2)
    }

    /// The place of a body, if there is one, for as long as it is read.
    pub(super) fn read(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.read.try_acquire().ok()
    }
}

/// The place of one request; free again when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A place, if there is one.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let permit = shared.places.served.clone().try_acquire_owned().ok()?;
        shared.metrics.http_inflight.inc();
        Some(Self { shared: shared.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.http_inflight.dec();
    }
}
