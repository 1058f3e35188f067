//! Sessions that move from one decode worker to another, without a round: the new owner pulls, the old one pushes.

mod list;
mod pull;
mod push;

pub(super) use list::{describe, sessions};
pub(super) use pull::pull;
pub(super) use push::push;

use ampd_kv::KvClient;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;
use crate::http::Paths;
use crate::protocol::ErrorCode;

/// What decode workers may ask of each other.
pub(super) const PEERS: Paths =
    &[("POST", "/internal/v1/sessions/describe"), ("POST", "/internal/v1/sessions/push")];
/// Sessions that come at once, and sessions that leave at once.
const AT_ONCE: usize = 8;

/// What a decode worker has for this.
pub(super) struct MoveSide {
    /// Opens transfers with other decode workers.
    kv: KvClient,
    /// For calls to other decode workers.
    http: reqwest::Client,
    pulls: Semaphore,
    pushes: Semaphore,
}

impl MoveSide {
    pub(super) fn new(kv: KvClient, http: reqwest::Client) -> Self {
        Self { kv, http, pulls: Semaphore::new(AT_ONCE), pushes: Semaphore::new(AT_ONCE) }
    }

    /// Moves under way.
    pub(super) fn len(&self) -> usize {
        2 * AT_ONCE - self.pulls.available_permits() - self.pushes.available_permits()
    }
}

/// A place among the moves of one direction.
fn enter(places: &Semaphore) -> Result<SemaphorePermit<'_>, ApiError> {
    let full = |_| ApiError::new(ErrorCode::Overloaded, format!("{AT_ONCE} sessions move already"));
    places.try_acquire().map_err(full)
}
