//! The metrics of the operator.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter};

use super::Label;
use super::buckets::CALLS;
use super::handles::ConstLabels;
use super::labels::REASONS;
use crate::MetricsError;
use crate::family::Counters;

/// Kinds that the operator writes.
const KINDS: usize = 24;
const VERBS: &[&str] = &["apply", "remove", "mark", "open", "status", "lease"];

metrics! {
    /// The metrics of the operator.
    OperatorMetrics;
    reconciles: Counters<1> = "ampd_operator_reconciles_total", "reconciles",
        "Reconciles that ended, by outcome: ok, or the kind of error.", { labels: &[Label::up_to("outcome", REASONS)] };
    reconcile_seconds: Histogram = "ampd_operator_reconcile_seconds", "seconds", "Time of a reconcile.",
        { buckets: CALLS };
    running_reconciles: Gauge = "ampd_operator_running_reconciles", "reconciles", "Reconciles that run.", {};
    services: Gauge = "ampd_operator_services", "services", "Services that the operator knows.", {};
    writes: Counters<2> = "ampd_operator_writes_total", "writes", "Writes to the API server, by kind of object and verb.",
        { labels: &[Label::up_to("kind", KINDS), Label::fixed("verb", VERBS)] };
    watch_errors: IntCounter = "ampd_operator_watch_errors_total", "errors",
        "Watches that broke and were started again.", {};
    events_dropped: IntCounter = "ampd_operator_events_dropped_total", "events",
        "Events that could not be written.", {};
    leader: Gauge = "ampd_operator_leader", "replicas", "1 on the replica that works, 0 on the others.", {};
}

impl OperatorMetrics {
    /// The metrics of one replica.
    ///
    /// # Errors
    /// When the table is defect.
    pub fn new() -> Result<Self, MetricsError> {
        Self::from_table(&ConstLabels::default())
    }

    /// Counts a reconcile for as long as what is returned lives.
    #[must_use]
    pub fn running(&self) -> Running<'_> {
        self.running_reconciles.inc();
        Running(&self.running_reconciles)
    }

    /// A reconcile ended.
    pub fn reconciled(&self, outcome: &str, took: Duration) {
        self.reconciles.with([outcome]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }
}

/// A reconcile that runs.
#[derive(Debug)]
pub struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
