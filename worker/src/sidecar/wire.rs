//! What sidecars say to each other, with the control API's manners: JSON, streams as one object a line, its error bodies.

use serde::{Deserialize, Serialize};

use super::attainment::Counts;
use crate::protocol::{ErrorDetail, OpenRound, PrefillPlace, RoundEvent};

/// `POST` with [`Resolve`], answered by [`Binding`].
pub(super) const RESOLVE: &str = "/internal/v1/homes/resolve";
/// `POST` with [`ServeRound`], answered by a stream of [`ServeEvent`].
pub(super) const SERVE: &str = "/internal/v1/served-rounds";
/// `GET`, answered by [`MemberStatus`].
pub(super) const MEMBER: &str = "/internal/v1/member";
/// `POST` to have nothing new taken here, `DELETE` to have it taken again; both answered by [`DrainStatus`].
pub(super) const DRAIN: &str = "/internal/v1/drain";
/// `GET`, answered by [`DrainStatus`].
pub(super) const STATUS: &str = "/internal/v1/status";

/// Asks a session's home where the session is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    /// The session.
    pub session: String,
    /// Tokens of KV that its next round needs.
    pub tokens: u64,
    /// Where the asker last knew it: a home that has forgotten the session binds it there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Bindings up to this epoch are of no use any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// A decode worker that was found to be lost, or that drains: taken only if there is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<String>,
    /// It drains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drains: bool,
    /// The decode worker that it is to be bound to, wherever it was, if that one takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The session has had rounds, whoever has forgotten them: it was let in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

/// Where a session is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Binding {
    /// The decode worker.
    pub worker: String,
    /// The binding's epoch.
    pub epoch: u64,
    /// The session was let in without objectives, behind all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best_effort: bool,
}

/// One round for the sidecar of the worker that its session is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeRound {
    /// The round.
    pub open: OpenRound,
    /// While the session has another round, go on beside it under another name instead of waiting.
    pub aside: bool,
    /// Rounds that the asker knows the session to have had.
    pub rounds: u64,
    /// It has no objectives: behind all others, where queues go by slack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best_effort: bool,
}

/// Where a round's prefill will run, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Decided {
    /// Number of the round in its session, from 1.
    pub round: u64,
    /// Where.
    pub place: PrefillPlace,
    /// Why.
    pub reason: String,
    /// The prefill worker, for a remote one.
    pub worker: Option<String>,
    /// Prompt tokens whose KV the decode worker holds.
    pub history: u64,
    /// The other prompt tokens.
    pub increment: u64,
    /// Predicted seconds of a local prefill.
    pub local_s: f64,
    /// Predicted seconds of a remote one, when there is a prefill worker.
    pub remote_s: Option<f64>,
    /// The round has no objectives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best_effort: bool,
}

/// Why a round is not served (any more).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub(super) struct Refusal {
    /// The error.
    pub error: ErrorDetail,
    /// When to try again, milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether the decode worker was lost: another one may serve the round.
    pub lost: bool,
    /// Rounds that the session has had, as whoever has let it go tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
}

/// A line of a served round's stream. `Refused`, or an `Event` with `Done` or `Error`, is the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServeEvent {
    /// Nothing else was sent for a second.
    Waiting {},
    /// Where the prefill will run.
    Decided(Decided),
    /// An event of the running round.
    Event(RoundEvent),
    /// The round is not served (any more).
    Refused(Refusal),
}

/// A decode worker and its sidecar, as the sidecar sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MemberStatus {
    /// The decode worker.
    pub name: String,
    /// Whether it takes new sessions.
    pub ready: bool,
    /// Tokens of KV that are free or could be freed at once.
    pub free_kv_tokens: u64,
    /// Tokens of KV that it has room for; 0 where that is not told.
    #[serde(default)]
    pub kv_tokens: u64,
    /// Sessions held.
    pub sessions: u32,
    /// Those of them that have a round or had one a moment ago, where that is told.
    #[serde(default)]
    pub live_sessions: Option<u32>,
    /// Rounds that decode.
    pub running: u32,
    /// Mean context of these, tokens.
    #[serde(default)]
    pub mean_context: f64,
    /// Mean time between tokens over the window, seconds.
    #[serde(default)]
    pub windowed_itl_s: Option<f64>,
    /// Predicted seconds of its local prefills.
    #[serde(default)]
    pub backlog_s: f64,
    /// Rounds that are open there, also those whose prefill is under way or waits, where that is told.
    #[serde(default)]
    pub open_rounds: Option<u32>,
    /// Tokens of KV that these hold.
    #[serde(default)]
    pub round_kv_tokens: u64,
    /// Tokens of KV of the live sessions that have no round.
    #[serde(default)]
    pub idle_kv_tokens: u64,
    /// Seconds of its decode step of reference, see [`ampd_perfmodel::Reference`]; 0 where that is not told.
    #[serde(default)]
    pub reference_step_s: f64,
    /// How old this is, milliseconds.
    pub age_ms: u64,
}

/// What a controller needs to know: of the service's objectives, and before it ends a decode worker with its sidecar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DrainStatus {
    /// The decode worker.
    pub name: String,
    /// Whether it takes rounds.
    pub ready: bool,
    /// Whether it was told to take nothing new.
    pub draining: bool,
    /// Rounds that run on it or wait for their turn there.
    pub open_rounds: u64,
    /// Requests of clients that this sidecar answers, wherever their rounds run.
    pub open_requests: u64,
    /// Sessions bound to it whose KV it holds, as it told last.
    pub sessions: u32,
    /// Tokens of KV that are lost with it.
    pub held_kv_tokens: u64,
    /// Whether there may be sessions left to move, or that move.
    pub moving: bool,
    /// Sessions that were found and not moved yet.
    pub sessions_left: u64,
    /// Sessions that have moved with their KV since the drain began.
    pub sessions_moved: u64,
    /// Sessions that could not: their next round computes their history anew.
    pub sessions_skipped: u64,
    /// How the rounds of this sidecar's clients did in the last `window_s` seconds.
    pub attainment: Counts,
    /// Seconds.
    pub window_s: u64,
    /// The objective of their time to the first token, seconds.
    pub ttft_s: f64,
    /// That of the mean time between their tokens, seconds.
    pub itl_s: f64,
}
