//! The metrics of a sidecar.

use prometheus::{Gauge, Histogram, IntCounter};

use super::buckets::{DECISIONS, STEPS, TOKENS, WAITS};
use super::handles::ConstLabels;
use super::labels::{OUTCOMES, PLACES, REASONS, TOKEN_KINDS};
use super::{Label, SERVICE};
use crate::MetricsError;
use crate::family::{Counters, Gauges, Histograms};

const OBJECTIVES: &[&str] = &["ttft", "itl", "both"];
const ROUNDS: &[&str] = &["1", "2-4", "5-9", "10+"];
const SLO_OUTCOMES: &[&str] =
    &["attained", "missed_ttft", "missed_itl", "missed_both", "turned_away", "failed"];
/// What is not known of a round that ended early.
pub const NONE: &str = "none";
const ROUNDS_OR_NONE: &[&str] = &["1", "2-4", "5-9", "10+", NONE];
const PLACES_OR_NONE: &[&str] = &["local", "remote", NONE];
const BINDINGS: &[&str] = &["new", "rebound", "lost"];
const ADMISSIONS: &[&str] = &["admitted", "best_effort", "refused", "held"];
const MOVE_CAUSES: &[&str] = &["drain", "load"];
const MOVES: &[&str] = &["moved", "overtaken", "no_room", "nowhere", "nameless", "failed"];
/// Workers that a sidecar follows are far fewer.
const WORKERS: usize = 256;
/// Routes of the service with their status codes.
const ROUTES: usize = 32;
const CODES: usize = 64;

metrics! {
    /// The metrics of a sidecar; all series carry its name as `sidecar`.
    SidecarMetrics;
    prefill_decisions: Counters<2> = "ampd_prefill_decisions_total", "prefills",
        "Routing decisions, by where the prefill was to run and why.",
        { labels: &[Label::fixed("target", PLACES), Label::up_to("reason", REASONS)] };
    decision_seconds: Histogram = "ampd_decision_seconds", "seconds", "Time of a routing decision.",
        { buckets: DECISIONS };
    remote_fallbacks: Counters<1> = "ampd_remote_fallbacks_total", "prefills",
        "Remote prefills that failed and ran locally instead, by reason.",
        { labels: &[Label::up_to("reason", REASONS)] };

    rounds: Counters<1> = "ampd_rounds_total", "rounds", "Rounds that ended, by outcome.",
        { labels: &[Label::fixed("outcome", OUTCOMES)] };
    rounds_attained: Counters<1> = "ampd_rounds_attained_total", "rounds",
        "Rounds that ended ok within an objective, or within both.",
        { labels: &[Label::fixed("objective", OBJECTIVES)] };
    round_outcomes: Counters<3> = "ampd_round_outcomes_total", "rounds",
        "Rounds that ended, as the objectives see them: within both, beyond one or both, turned away because there was too much \
        to do or nobody to do it, failed. What clients took back or asked wrongly is not among them. By the round's number and \
        where its prefill ran, as far as that is known; SLO attainment is the share of `attained`.",
        { labels: &[
            Label::fixed("outcome", SLO_OUTCOMES),
            Label::fixed("round", ROUNDS_OR_NONE),
            Label::fixed("prefill", PLACES_OR_NONE),
        ] };
    round_ttft_seconds: Histograms<2> = "ampd_round_ttft_seconds", "seconds",
        "Time from a round's arrival to its first output token, by the round's number and where its prefill ran.",
        { labels: &[Label::fixed("round", ROUNDS), Label::fixed("prefill", PLACES)], buckets: WAITS };
    round_itl_seconds: Histogram = "ampd_round_itl_seconds", "seconds",
        "Mean time between the output tokens of a round.", { buckets: STEPS };
    round_increment_tokens: Histogram = "ampd_round_increment_tokens", "tokens",
        "New input tokens of a round.", { buckets: TOKENS };
    round_history_tokens: Histogram = "ampd_round_history_tokens", "tokens",
        "Tokens whose KV existed when a round came.", { buckets: TOKENS };
    tokens: Counters<1> = "ampd_tokens_total", "tokens",
        "Tokens by kind: new ones of prompts, of histories whose KV was there, of outputs.",
        { labels: &[Label::fixed("kind", TOKEN_KINDS)] };

    bindings: Counters<1> = "ampd_bindings_total", "bindings",
        "Bindings of sessions to decode workers: new ones, to another worker than before, lost ones.",
        { labels: &[Label::fixed("kind", BINDINGS)] };
    admissions: Counters<1> = "ampd_admissions_total", "sessions",
        "Decisions on new sessions: admitted, admitted behind all others, refused because objectives would be missed, held \
        back for the same reason (each time that one asks again).",
        { labels: &[Label::fixed("outcome", ADMISSIONS)] };
    session_moves: Counters<2> = "ampd_session_moves_total", "sessions",
        "Sessions of this decode worker that were to move, because it drains or because another one is better for their \
        next round, by outcome: moved with their KV; left, because a round was sooner, no worker had room, there was no \
        other worker, no next round can ask for them, or the transfer failed.",
        { labels: &[Label::fixed("cause", MOVE_CAUSES), Label::fixed("outcome", MOVES)] };
    session_moved_tokens: IntCounter = "ampd_session_moved_tokens_total", "tokens",
        "Tokens whose KV the sessions had that moved.", {};
    bound_sessions: Gauge = "ampd_bound_sessions", "sessions", "Sessions whose binding this sidecar keeps.", {};

    signal_age_seconds: Gauges<1> = "ampd_signal_age_seconds", "seconds",
        "Age of the last load signal of a worker.", { labels: &[Label::up_to("worker", WORKERS)] };
    signal_reads: Counters<1> = "ampd_signal_reads_total", "reads", "Reads of load signals, by outcome.",
        { labels: &[Label::up_to("outcome", REASONS)] };

    discovery_failures: IntCounter = "ampd_discovery_failures_total", "failures",
        "Failed reads of the service's workers from the API server; the last topology stays meanwhile.", {};

    http_requests: Counters<2> = "ampd_http_requests_total", "requests",
        "HTTP requests answered, by route and status code.",
        { labels: &[Label::up_to("route", ROUTES), Label::up_to("code", CODES)] };
    http_inflight: Gauge = "ampd_http_inflight", "requests", "HTTP requests being answered.", {};
}

impl SidecarMetrics {
    /// The metrics of the sidecar of the decode worker `name` in `service`, which is `namespace/name`.
    ///
    /// # Errors
    /// When the table is defect.
    pub fn new(service: &str, name: &str) -> Result<Self, MetricsError> {
        let labels =
            [(SERVICE, service), ("sidecar", name)].map(|(label, value)| (label.into(), value.into()));
        Self::from_table(&ConstLabels::from(labels))
    }
}

/// The class of a round's number (1-based) in the label `round`.
#[must_use]
pub fn round_class(round: u64) -> &'static str {
    match round {
        0 | 1 => "1",
        2..=4 => "2-4",
        5..=9 => "5-9",
        _ => "10+",
    }
}
