//! The metrics of a worker.

use prometheus::{Gauge, Histogram, IntCounter};

use super::buckets::{STEPS, TRANSFERS, WAITS};
use super::handles::ConstLabels;
use super::labels::{OUTCOMES, PLACES, REASONS, TOKEN_KINDS};
use super::{Label, SERVICE};
use crate::MetricsError;
use crate::family::{Counters, Gauges, Histograms};

const CLASSES: &[&str] = &["total", "free", "active", "leased", "cached"];
const STEP_KINDS: &[&str] = &["decode", "prefill", "mixed"];
const PREDICTIONS: &[&str] = &["prefill", "decode"];
const DIRECTIONS: &[&str] = &["pull", "push"];

metrics! {
    /// The metrics of a worker; all series carry its `role` and its name as `worker`.
    WorkerMetrics;
    running_rounds: Gauge = "ampd_worker_running_rounds", "rounds", "Rounds that decode.", { load: true };
    queued_prefills: Gauge = "ampd_worker_queued_prefills", "prefills",
        "Prefills that wait or run.", { load: true };
    queued_prefill_tokens: Gauge = "ampd_worker_queued_prefill_tokens", "tokens",
        "Tokens still to compute of the prefills that wait or run.", { load: true };
    backlog_seconds: Gauge = "ampd_worker_backlog_seconds", "seconds",
        "Predicted time until all prefills that wait or run are computed.", { load: true };
    context_tokens_mean: Gauge = "ampd_worker_context_tokens_mean", "tokens",
        "Mean context of the rounds that decode.", { load: true };
    windowed_ttft_seconds: Gauge = "ampd_worker_windowed_ttft_seconds", "seconds",
        "Mean time to first token over the window; on a prefill worker to the end of the prefill; NaN without samples.",
        { load: true };
    windowed_itl_seconds: Gauge = "ampd_worker_windowed_itl_seconds", "seconds",
        "Mean time between output tokens over the window; NaN without samples.", { load: true };
    kv_blocks: Gauges<1> = "ampd_worker_kv_blocks", "blocks",
        "KV blocks by class; free, active, leased and cached add up to total.",
        { labels: &[Label::fixed("class", CLASSES)], load: true };
    sessions: Gauge = "ampd_worker_sessions", "sessions", "Sessions whose KV is held.", { load: true };
    max_context_tokens: Gauge = "ampd_worker_max_context_tokens", "tokens",
        "Longest prompt with its output that the worker can hold: the model's context, or what the KV pool has room for.",
        { load: true };
    token_budget: Gauge = "ampd_worker_token_budget", "tokens",
        "Most tokens that one step of the engine computes.", { load: true };
    reference_prefill_seconds: Gauge = "ampd_worker_reference_prefill_seconds", "seconds",
        "Predicted time of a prefill of 512 tokens without history, as corrected by what was measured.", { load: true };
    reference_step_seconds: Gauge = "ampd_worker_reference_step_seconds", "seconds",
        "Predicted time of a step of 8 rounds with 512 tokens each, as corrected by what was measured.", { load: true };
    ready: Gauge = "ampd_worker_ready", "1 or 0", "Whether the worker takes work.", { load: true };

    rounds: Counters<1> = "ampd_worker_rounds_total", "rounds", "Rounds that ended, by outcome.",
        { labels: &[Label::fixed("outcome", OUTCOMES)] };
    prefills: Counters<2> = "ampd_worker_prefills_total", "prefills",
        "Prefills that ended, by the place of their computation and by outcome.",
        { labels: &[Label::fixed("place", PLACES), Label::fixed("outcome", OUTCOMES)] };
    tokens: Counters<1> = "ampd_worker_tokens_total", "tokens",
        "Tokens by kind: of prompts that were computed, of histories whose KV was there, of outputs.",
        { labels: &[Label::fixed("kind", TOKEN_KINDS)] };
    step_seconds: Histograms<1> = "ampd_worker_step_seconds", "seconds", "Time of an engine step, by what was in it.",
        { labels: &[Label::fixed("kind", STEP_KINDS)], buckets: STEPS };
    steps: IntCounter = "ampd_worker_steps_total", "steps", "Engine steps.", {};
    prefill_seconds: Histogram = "ampd_worker_prefill_seconds", "seconds",
        "Time of a prefill from its first chunk to its last.", { buckets: WAITS };
    prefill_queue_seconds: Histogram = "ampd_worker_prefill_queue_seconds", "seconds",
        "Time that a prefill waited before its first chunk.", { buckets: WAITS };
    calibration_ratio: Gauges<1> = "ampd_worker_calibration_ratio", "ratio",
        "Moving ratio of measured to predicted step times, by what is predicted; from 0.2 to 5.",
        { labels: &[Label::fixed("kind", PREDICTIONS)] };
    preemptions: IntCounter = "ampd_worker_preemptions_total", "rounds",
        "Rounds set back because KV memory ran out.", {};
    postponements: IntCounter = "ampd_worker_postponements_total", "prefills",
        "Times that reordering let a later prefill go before.", {};

    kv_transfer_bytes: Counters<1> = "ampd_worker_kv_transfer_bytes_total", "bytes",
        "KV moved, by direction as the worker sees it that connects: pulled histories, pushed increments and sessions.",
        { labels: &[Label::fixed("direction", DIRECTIONS)] };
    kv_transfer_seconds: Histograms<1> = "ampd_worker_kv_transfer_seconds", "seconds",
        "Time of a KV transfer, by direction.", { labels: &[Label::fixed("direction", DIRECTIONS)], buckets: TRANSFERS };
    kv_transfers: Counters<2> = "ampd_worker_kv_transfers_total", "transfers",
        "KV transfers that ended, by direction and outcome.",
        { labels: &[Label::fixed("direction", DIRECTIONS), Label::fixed("outcome", OUTCOMES)] };
    kv_refused: Counters<1> = "ampd_worker_kv_refused_total", "connections",
        "Connections and handles that the KV port refused, by reason.", { labels: &[Label::up_to("reason", REASONS)] };
    leases: Gauge = "ampd_worker_leases", "leases", "Leases that are open for KV transfers.", {};
    remote_fallbacks: Counters<1> = "ampd_worker_remote_fallbacks_total", "prefills",
        "Remote prefills that failed and were computed by the decode worker instead, by reason.",
        { labels: &[Label::up_to("reason", REASONS)] };
}

impl WorkerMetrics {
    /// The metrics of the worker `name` with `role` `prefill` or `decode` in `service`, which is `namespace/name`.
    ///
    /// # Errors
    /// When the table is defect.
    pub fn new(service: &str, role: &str, name: &str) -> Result<Self, MetricsError> {
        let labels = [(SERVICE, service), ("role", role), ("worker", name)]
            .map(|(label, value)| (label.into(), value.into()));
        let metrics = Self::from_table(&ConstLabels::from(labels))?;
        // Nothing has been measured yet: zero would say that there is no delay.
        metrics.windowed_ttft_seconds.set(f64::NAN);
        metrics.windowed_itl_seconds.set(f64::NAN);
        Ok(metrics)
    }

    /// The series that routing reads in Prometheus' text format.
    ///
    /// # Errors
    /// When the series cannot be written, which is a defect.
    pub fn render_load(&self) -> Result<String, MetricsError> {
        self.registries.render_load()
    }

    /// Changes several series so that a reader sees all changes or none.
    pub(crate) fn together(&self, change: impl FnOnce()) {
        self.registries.change(change);
    }
}
