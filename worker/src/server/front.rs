//! What the control API's handlers share: the worker, once it is loaded, and where it stands.

use std::sync::{Arc, OnceLock};

use ampd_telemetry::WorkerMetrics;
use tokio_util::sync::CancellationToken;

use super::engine::EngineHandle;
use super::error::ApiError;
use super::load::Load;
use super::phase::Lifecycle;
use super::prefill::PrefillSide;
use super::rounds::DecodeSide;
use super::stats::Stats;
use crate::protocol::{ErrorCode, Role};

/// What stands behind the port from the start.
pub(super) struct Front {
    pub life: Lifecycle,
    pub metrics: Arc<WorkerMetrics>,
    /// Ends the streams that are left when the worker shuts down.
    pub cut: CancellationToken,
    pub worker: OnceLock<Arc<Worker>>,
}

/// The loaded worker.
pub(super) struct Worker {
    pub name: String,
    pub role: Role,
    pub engine: EngineHandle,
    pub stats: Arc<Stats>,
    pub load: Arc<Load>,
    pub vocab: usize,
    pub max_context: usize,
    pub side: Side,
}

/// What only one role has.
pub(super) enum Side {
    Decode(Arc<DecodeSide>),
    Prefill(Arc<PrefillSide>),
}

impl Front {
    /// The worker if it takes new work.
    ///
    /// # Errors
    /// `not_ready`, `draining`.
    pub(super) fn serving(&self) -> Result<Arc<Worker>, ApiError> {
        self.life.admit()?;
        self.loaded()
    }

    /// The worker for work that it has taken before.
    ///
    /// # Errors
    /// `not_ready`.
    pub(super) fn loaded(&self) -> Result<Arc<Worker>, ApiError> {
        let loading = || ApiError::new(ErrorCode::NotReady, "the model is not loaded yet");
        self.worker.get().cloned().ok_or_else(loading)
    }
}

impl Worker {
    /// What a decode worker has.
    ///
    /// # Errors
    /// `wrong_role`.
    pub(super) fn decode(&self) -> Result<&Arc<DecodeSide>, ApiError> {
        match &self.side {
            Side::Decode(side) => Ok(side),
            Side::Prefill(_) => Err(wrong_role(self.role, Role::Decode)),
        }
    }

    /// What a prefill worker has.
    ///
    /// # Errors
    /// `wrong_role`.
    pub(super) fn prefill(&self) -> Result<&PrefillSide, ApiError> {
        match &self.side {
            Side::Prefill(side) => Ok(side),
            Side::Decode(_) => Err(wrong_role(self.role, Role::Prefill)),
        }
    }

    /// Rounds, tasks or moves that are not over.
    pub(super) fn busy(&self) -> usize {
        match &self.side {
            Side::Decode(side) => side.table.len() + side.moves.len(),
            Side::Prefill(side) => side.queue.held(),
        }
    }
}

fn wrong_role(is: Role, needed: Role) -> ApiError {
    let message = format!("this is a {} worker, the call is for a {} worker", is.as_str(), needed.as_str());
    ApiError::new(ErrorCode::WrongRole, message)
}
