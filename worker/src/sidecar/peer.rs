//! The client of another sidecar.

use std::time::Duration;

use super::health::Failure;
use super::wire::{Binding, MEMBER, MemberStatus, RESOLVE, Resolve, SERVE, ServeEvent, ServeRound};
use crate::protocol::{ClientError, ControlClient, Deadlines, EventStream};

/// For a home's answer, which may include a wait and bindings that fail.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);
/// For a status.
const MEMBER_DEADLINE: Duration = Duration::from_millis(500);
/// Silence within a served round, whose stream has a line at least every second.
const SERVE_SILENCE: Duration = Duration::from_secs(4);
/// For the head of a served round's stream, which comes before anything is done.
const SERVE_HEAD: Duration = Duration::from_secs(3);

/// Another sidecar's internal API.
#[derive(Debug, Clone)]
pub(super) struct Peer(ControlClient);

impl Peer {
    pub(super) fn new(http: reqwest::Client, sidecar_url: &str) -> Self {
        let deadlines = Deadlines { call: SERVE_HEAD.max(RESOLVE_DEADLINE), ..Deadlines::default() };
        Self(ControlClient::new(http, sidecar_url, deadlines))
    }

    pub(super) fn traced(self, traceparent: &str) -> Self {
        Self(self.0.traced(Some(traceparent)))
    }

    pub(super) async fn resolve(&self, ask: &Resolve) -> Result<Binding, ClientError> {
        self.0.call(RESOLVE, ask, RESOLVE_DEADLINE).await
    }

    pub(super) async fn status(&self) -> Result<MemberStatus, ClientError> {
        self.0.get(MEMBER, MEMBER_DEADLINE).await
    }

    pub(super) async fn serve(&self, round: &ServeRound) -> Result<EventStream<ServeEvent>, ClientError> {
        tokio::time::timeout(SERVE_HEAD, self.0.stream(SERVE, round, SERVE_SILENCE))
            .await
            .unwrap_or(Err(ClientError::Deadline { after: SERVE_HEAD }))
    }
}

/// What a failed call says about the life of who was called; `None` when it has answered.
pub(super) fn failure(error: &ClientError) -> Option<Failure> {
    match error {
        ClientError::Connect(error) if !error.is_timeout() => Some(Failure::Refused),
        ClientError::Connect(_)
        | ClientError::Call(_)
        | ClientError::Deadline { .. }
        | ClientError::Silent { .. }
        | ClientError::Stream(_) => Some(Failure::Silent),
        ClientError::Setup(_)
        | ClientError::Tls(_)
        | ClientError::Refused { .. }
        | ClientError::Status { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Answer(_)
        | ClientError::Event(_) => None,
    }
}
