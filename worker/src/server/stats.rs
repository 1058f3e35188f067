//! What the worker measures of itself: windowed latencies, and how far the performance model is off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::StepReport;
use ampd_perfmodel::{Calibration, PerfModel};
use ampd_scheduler::Window;
use ampd_telemetry::WorkerMetrics;
use parking_lot::Mutex;

/// Span of the windowed means, seconds.
const WINDOW_S: f64 = 10.0;

/// Measurements, shared between the engine's thread and the servers.
pub(super) struct Stats {
    started: Instant,
    perf: PerfModel,
    metrics: Arc<WorkerMetrics>,
    state: Mutex<State>,
}

struct State {
    calibration: Calibration,
    ttft: Window,
    itl: Window,
}

impl Stats {
    pub(super) fn new(perf: PerfModel, metrics: Arc<WorkerMetrics>) -> Self {
        let state = State {
            calibration: Calibration::default(),
            ttft: Window::new(WINDOW_S),
            itl: Window::new(WINDOW_S),
        };
        Self { started: Instant::now(), perf, metrics, state: Mutex::new(state) }
    }

    /// The metrics' handles.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// The performance model, corrected by what was measured.
    pub(super) fn perf(&self) -> PerfModel {
        self.perf.calibrated(&self.state.lock().calibration)
    }

    /// Takes in a step of the engine.
    pub(super) fn step(&self, report: &StepReport, took: Duration) {
        let took = took.as_secs_f64();
        let metrics = &self.metrics;
        metrics.steps.inc();
        metrics.preemptions.inc_by(report.preempted as u64);
        let decode = self.perf.decode_s(report.decode_rows as f64, report.mean_decode_context);
        let parts: Vec<(f64, f64)> =
            report.prefill_parts.iter().map(|part| (part.history as f64, part.increment as f64)).collect();
        // A mixed step says nothing about either kind alone.
        match (report.decode_rows > 0, report.prefill_rows > 0) {
            (true, false) => {
                metrics.step_seconds.with(["decode"]).observe(took);
                self.state.lock().calibration.decode(decode, took);
            }
            (false, true) => {
                metrics.step_seconds.with(["prefill"]).observe(took);
                self.state.lock().calibration.prefill(self.perf.prefill_batch_s(&parts), took);
            }
            (true, true) => metrics.step_seconds.with(["mixed"]).observe(took),
            (false, false) => {}
        }
    }

    /// Takes in a time to first token; on a prefill worker, to the end of the prefill.
    pub(super) fn first_token(&self, took: Duration) {
        let now = self.now();
        self.state.lock().ttft.push(now, took.as_secs_f64());
    }

    /// Takes in a time between two output tokens.
    pub(super) fn next_token(&self, took: Duration) {
        let now = self.now();
        self.state.lock().itl.push(now, took.as_secs_f64());
    }

    /// The windowed means of TTFT and ITL, seconds.
    pub(super) fn windowed(&self) -> (Option<f64>, Option<f64>) {
        let now = self.now();
        let mut state = self.state.lock();
        (state.ttft.mean(now), state.itl.mean(now))
    }

    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
