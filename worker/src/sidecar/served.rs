//! A served round's events, whichever sidecar serves it.

use tokio::sync::mpsc;

use super::peer::failure;
use super::state::Shared;
use super::wire::{Refusal, ServeEvent};
use crate::protocol::EventStream;

/// The events of a round; dropping it cancels the round.
pub(super) enum Served {
    /// On the own worker.
    Here(mpsc::Receiver<ServeEvent>),
    /// On the worker beside another sidecar.
    There { member: String, events: EventStream<ServeEvent> },
}

impl Served {
    /// The next event. A stream that ends before its last event was cut: the worker counts as lost.
    pub(super) async fn next(&mut self, shared: &Shared) -> Result<ServeEvent, Refusal> {
        match self {
            Self::Here(events) => events.recv().await.ok_or_else(Refusal::lost),
            Self::There { member, events } => match events.next().await {
                Ok(Some(event)) => Ok(event),
                Ok(None) => Err(Refusal::lost()),
                Err(error) => {
                    if let Some(failure) = failure(&error) {
                        shared.members.failed(member, failure);
                    }
                    tracing::warn!(
                        member,
                        error = &error as &dyn std::error::Error,
                        "another sidecar's stream failed"
                    );
                    Err(Refusal::from_client(&error))
                }
            },
        }
    }
}
