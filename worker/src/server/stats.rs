//! What the worker measures of itself: windowed latencies, and how far the performance model is off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ampd_engine::core::StepReport;
use ampd_perfmodel::{Calibration, PerfModel, Reference};
use ampd_scheduler::Window;
use ampd_telemetry::WorkerMetrics;
use parking_lot::Mutex;

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
    /// Measurements whose windowed means are over `window`.
    pub(super) fn new(perf: PerfModel, metrics: Arc<WorkerMetrics>, window: Duration) -> Self {
        let mean = Window::new(window.as_secs_f64());
        let state = State { calibration: Calibration::default(), ttft: mean.clone(), itl: mean };
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

    /// How far the performance model is off: measured over predicted time of prefills and of decode steps.
    pub(super) fn ratios(&self) -> (f64, f64) {
        let calibration = self.state.lock().calibration;
        (calibration.prefill_ratio(), calibration.decode_ratio())
    }

    /// What others compare this worker's speed by.
    pub(super) fn reference(&self) -> Reference {
        self.perf().reference()
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
        match (report.decode_rows > 0, report.prefill_rows > 0) {
            (true, false) => {
                metrics.step_seconds.with(["decode"]).observe(took);
                self.state.lock().calibration.decode(decode, took);
            }
            (false, true) => {
                metrics.step_seconds.with(["prefill"]).observe(took);
                self.state.lock().calibration.prefill(self.perf.prefill_batch_s(&parts), took);
            }
            (true, true) => {
                metrics.step_seconds.with(["mixed"]).observe(took);
                let rows = report.decode_rows as f64;
                let mixed = self.perf.mixed_s(rows, report.mean_decode_context, &parts);
                self.state.lock().calibration.mixed(decode, mixed, took);
            }
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
        let state = self.state.lock();
        (state.ttft.mean(now), state.itl.mean(now))
    }

    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use ampd_perfmodel::Transfer;

    use super::*;

    #[test]
    fn means_are_over_the_window_that_was_asked_for() {
        let transfer = Transfer { latency_s: 0.0, bytes_per_s: 1e9, bytes_per_token: 1.0 };
        let perf = PerfModel { prefill: Vec::new(), decode: Vec::new(), transfer };
        let with = |window| {
            let metrics = Arc::new(WorkerMetrics::new("default/chat", "decode", "d").unwrap());
            let stats = Stats::new(perf.clone(), metrics, window);
            stats.first_token(Duration::from_secs(2));
            stats.next_token(Duration::from_secs(1));
            stats
        };
        let (short, long) = (with(Duration::from_millis(20)), with(Duration::from_mins(10)));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(short.windowed(), (None, None));
        assert_eq!(long.windowed(), (Some(2.0), Some(1.0)));
    }
}
