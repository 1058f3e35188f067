//! The metrics of the operator.

use prometheus::{Gauge, Histogram};

use super::Label;
use super::buckets::CALLS;
use super::handles::ConstLabels;
use super::labels::REASONS;
use crate::MetricsError;
use crate::family::{Counters, Gauges};

/// Kinds of objects that the operator knows are fewer.
const KINDS: usize = 32;
const VERBS: &[&str] = &["create", "apply", "patch", "delete"];
const EVENT_OUTCOMES: &[&str] = &["sent", "repeated", "dropped", "failed"];

metrics! {
    /// The metrics of an operator.
    OperatorMetrics;
    leader: Gauge = "ampd_operator_leader", "1 or 0", "Whether this replica is the one that acts.", {};
    objects: Gauges<1> = "ampd_operator_objects", "objects", "Objects that the operator runs, by kind.",
        { labels: &[Label::up_to("kind", KINDS)] };

    reconciles: Counters<1> = "ampd_operator_reconciles_total", "reconciles",
        "Reconciles that ended, by outcome: `ok` or the kind of the error.",
        { labels: &[Label::up_to("outcome", REASONS)] };
    reconcile_seconds: Histogram = "ampd_operator_reconcile_seconds", "seconds", "Time of a reconcile.",
        { buckets: CALLS };
    reconciles_inflight: Gauge = "ampd_operator_reconciles_inflight", "reconciles", "Reconciles that run now.", {};
    last_success_seconds: Gauge = "ampd_operator_last_success_timestamp_seconds", "seconds",
        "When a reconcile last ended ok, since the Unix epoch; not a number before the first.", {};

    api_writes: Counters<2> = "ampd_operator_api_writes_total", "requests",
        "Requests to the Kubernetes API that were to change something, by kind of object and verb.",
        { labels: &[Label::up_to("kind", KINDS), Label::fixed("verb", VERBS)] };
    watch_restarts: Counters<1> = "ampd_operator_watch_restarts_total", "restarts",
        "Times that a watch broke off and began anew, by kind of object.",
        { labels: &[Label::up_to("kind", KINDS)] };
    events: Counters<1> = "ampd_operator_events_total", "events",
        "Events for Kubernetes, by outcome: sent, left out because they said nothing new, dropped because too many waited, failed.",
        { labels: &[Label::fixed("outcome", EVENT_OUTCOMES)] };
}

impl OperatorMetrics {
    /// The metrics of this operator.
    ///
    /// # Errors
    /// When the table is defect.
    pub fn new() -> Result<Self, MetricsError> {
        let metrics = Self::from_table(&ConstLabels::new())?;
        // Nothing has succeeded yet: zero would say that something did in 1970.
        metrics.last_success_seconds.set(f64::NAN);
        Ok(metrics)
    }
}
