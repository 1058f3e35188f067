//! Where a worker stands between its start and its end.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::ApiError;
use crate::protocol::ErrorCode;

/// A worker's phase.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// It prepares; the port answers already.
    Loading {
        /// What it does.
        step: &'static str,
        /// How far it is, 0 to 1.
        progress: f64,
    },
    /// It serves.
    Ready,
    /// It ends: running rounds go on, new ones are refused.
    Draining,
    /// It found itself broken and ends; the reason.
    Failed(String),
}

/// The phase, shared. Ready, draining and failed follow each other in this order only.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    phase: watch::Sender<Phase>,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Loading { step: "starting", progress: 0.0 }) }
    }

    /// Moves on; a later phase is never left for an earlier one.
    pub(super) fn set(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = rank(&phase) >= rank(current) && *current != phase;
            if forward {
                *current = phase;
            }
            forward
        });
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// Whether new work is taken.
    ///
    /// # Errors
    /// `draining`, or `not_ready` with what the worker does instead.
    pub(super) fn admit(&self) -> Result<(), ApiError> {
        match &*self.phase.borrow() {
            Phase::Ready => Ok(()),
            Phase::Draining => Err(ApiError::new(ErrorCode::Draining, "the worker shuts down")),
            Phase::Loading { step, .. } => {
                Err(ApiError::new(ErrorCode::NotReady, format!("the worker is not ready: {step}")))
            }
            Phase::Failed(reason) => {
                Err(ApiError::new(ErrorCode::NotReady, format!("the worker is broken: {reason}")))
            }
        }
    }

    /// The phase as `/readyz` shows it.
    pub(super) fn to_json(&self) -> Value {
        match &*self.phase.borrow() {
            Phase::Loading { step, progress } => {
                json!({"phase": "loading", "step": step, "progress": progress})
            }
            Phase::Ready => json!({"phase": "ready"}),
            Phase::Draining => json!({"phase": "draining"}),
            Phase::Failed(reason) => json!({"phase": "failed", "reason": reason}),
        }
    }
}

fn rank(phase: &Phase) -> u8 {
    match phase {
        Phase::Loading { .. } => 0,
        Phase::Ready => 1,
        Phase::Draining => 2,
        Phase::Failed(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(life: &Lifecycle) -> Option<ErrorCode> {
        match life.admit() {
            Err(ApiError::Detail(detail)) => Some(detail.code),
            _ => None,
        }
    }

    #[test]
    fn phases_only_go_forward() {
        let life = Lifecycle::new();
        assert_eq!(refusal(&life), Some(ErrorCode::NotReady));
        life.set(Phase::Loading { step: "loading the model", progress: 0.5 });
        assert_eq!(life.to_json()["progress"], 0.5);
        life.set(Phase::Ready);
        assert_eq!(refusal(&life), None);
        life.set(Phase::Draining);
        life.set(Phase::Ready);
        assert!(!life.is_ready());
        assert_eq!(refusal(&life), Some(ErrorCode::Draining));
    }
}
