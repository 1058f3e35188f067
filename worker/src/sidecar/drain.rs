//! Draining, on request or because the pod ends: nothing new is taken here, what runs goes on, and sessions move to other
//! workers.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::attainment::WINDOW_S;
use super::moves::Progress;
use super::state::Shared;
use super::wire::{DRAIN, DrainStatus, STATUS};
use crate::http::Paths;

/// What the operator may ask for.
pub(super) const OPERATED: Paths = &[("GET", STATUS), ("POST", DRAIN), ("DELETE", DRAIN)];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route(STATUS, get(status)).route(DRAIN, post(begin).delete(end))
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<DrainStatus> {
    Json(shared.drain_status())
}

async fn begin(State(shared): State<Arc<Shared>>) -> Json<DrainStatus> {
    shared.begin_drain().await;
    Json(shared.drain_status())
}

async fn end(State(shared): State<Arc<Shared>>) -> Json<DrainStatus> {
    // A session that moves at this moment stays, or has moved.
    shared.moves.stop().await;
    shared.drain(false);
    Json(shared.drain_status())
}

impl Shared {
    /// Begins to drain, unless that was begun already.
    pub(super) async fn begin_drain(self: &Arc<Self>) {
        self.drain(true);
        self.move_sessions().await;
    }

    /// The other sidecars hear of it when they ask for this member's state the next time; this one knows it at once.
    fn drain(&self, drained: bool) {
        self.own.drain(drained);
        self.members.answered(self.own.status());
    }

    fn drain_status(&self) -> DrainStatus {
        let load = self.own.load();
        let Progress { moving, left, moved, skipped } = self.moves.progress();
        DrainStatus {
            name: self.own.name().to_owned(),
            ready: self.own.ready() && !self.shutdown.is_cancelled(),
            draining: self.own.drained(),
            open_rounds: self.served.len() as u64,
            open_requests: self.metrics.http_inflight.get() as u64,
            sessions: load.sessions,
            held_kv_tokens: load.held_kv_tokens,
            moving,
            sessions_left: left,
            sessions_moved: moved,
            sessions_skipped: skipped,
            attainment: self.attainment.counts(),
            window_s: WINDOW_S,
            ttft_s: self.config.slo.ttft_s,
            itl_s: self.config.slo.itl_s,
        }
    }
}
