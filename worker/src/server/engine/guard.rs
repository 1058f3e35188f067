//! A round that ends when nobody holds it any more.

use ampd_engine::core::RoundId;
use tokio::sync::mpsc;

/// Holds a round of the engine: dropping it cancels the round, in whatever state, and frees its blocks. For a round that
/// has ended by itself this does nothing.
#[derive(Debug)]
pub(in crate::server) struct RoundGuard {
    id: RoundId,
    cancels: mpsc::UnboundedSender<RoundId>,
}

impl RoundGuard {
    pub(super) fn new(id: RoundId, cancels: mpsc::UnboundedSender<RoundId>) -> Self {
        Self { id, cancels }
    }

    /// The engine's name of the round.
    pub(in crate::server) fn id(&self) -> RoundId {
        self.id
    }
}

impl Drop for RoundGuard {
    fn drop(&mut self) {
        // Without the engine's thread there is no round either.
        let _ = self.cancels.send(self.id);
    }
}
