//! What the processes' metrics say, reduced to what the table shows.

use std::collections::BTreeMap;

use ampd_telemetry::exposition::Sample;

/// A worker's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WorkerReading {
    /// Rounds that decode.
    pub(crate) decoding: f64,
    /// Prefills that wait or run.
    pub(crate) prefills: f64,
    /// Share of the KV pool that rounds and transfers hold; the rest is free or a cache that gives way.
    pub(crate) kv_used: f64,
    /// Sessions held.
    pub(crate) sessions: f64,
    /// Mean time to first token of the last seconds, seconds.
    pub(crate) ttft_s: Option<f64>,
    /// Mean time between tokens of the last seconds, seconds.
    pub(crate) itl_s: Option<f64>,
}

/// What a sidecar has done since its start.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SidecarReading {
    /// Rounds that ended well.
    pub(crate) rounds: f64,
    /// Rounds that ended otherwise.
    pub(crate) failed: f64,
    /// Rounds within both objectives.
    pub(crate) attained: f64,
    /// Decisions for a local prefill.
    pub(crate) local: f64,
    /// Decisions for a remote prefill.
    pub(crate) remote: f64,
    /// Decisions by target and reason, most frequent first.
    pub(crate) reasons: Vec<(String, f64)>,
}

/// What one process says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// A worker's.
    Worker(WorkerReading),
    /// A sidecar's.
    Sidecar(SidecarReading),
}

/// The sum of all series of a name that `keep` keeps.
fn sum(samples: &[Sample], name: &str, keep: impl Fn(&Sample) -> bool) -> f64 {
    samples.iter().filter(|s| s.name == name && keep(s)).map(|s| s.value).filter(|v| v.is_finite()).sum()
}

impl WorkerReading {
    /// Reads a worker's `/metrics/load`.
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let all = |_: &Sample| true;
        let gauge = |name| sum(samples, name, all);
        // A mean over nothing is not a number.
        let mean = |name| samples.iter().find(|s| s.name == name).map(|s| s.value).filter(|v| v.is_finite());
        let blocks = |class: &str| sum(samples, "ampd_worker_kv_blocks", |s| s.label("class") == Some(class));
        let total = blocks("total");
        Self {
            decoding: gauge("ampd_worker_running_rounds"),
            prefills: gauge("ampd_worker_queued_prefills"),
            kv_used: if total > 0.0 { (blocks("active") + blocks("leased")) / total } else { 0.0 },
            sessions: gauge("ampd_worker_sessions"),
            ttft_s: mean("ampd_worker_windowed_ttft_seconds"),
            itl_s: mean("ampd_worker_windowed_itl_seconds"),
        }
    }
}

impl SidecarReading {
    /// Reads a sidecar's `/metrics`.
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let rounds =
            |ok: bool| sum(samples, "ampd_rounds_total", |s| (s.label("outcome") == Some("ok")) == ok);
        let mut by_reason = BTreeMap::new();
        for sample in samples.iter().filter(|s| s.name == "ampd_prefill_decisions_total" && s.value > 0.0) {
            let part = |label| sample.label(label).unwrap_or("?");
            *by_reason.entry(format!("{}: {}", part("target"), part("reason"))).or_insert(0.0) +=
                sample.value;
        }
        let mut reasons: Vec<(String, f64)> = by_reason.into_iter().collect();
        reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
        let decided = |target: &str| {
            sum(samples, "ampd_prefill_decisions_total", |s| s.label("target") == Some(target))
        };
        Self {
            rounds: rounds(true),
            failed: rounds(false),
            attained: sum(samples, "ampd_rounds_attained_total", |s| s.label("objective") == Some("both")),
            local: decided("local"),
            remote: decided("remote"),
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_and_missing_means_stay_missing() {
        let text = "ampd_worker_running_rounds{role=\"decode\",worker=\"decode-0\"} 3\n\
            ampd_worker_queued_prefills 1\nampd_worker_sessions 4\n\
            ampd_worker_kv_blocks{class=\"total\"} 100\nampd_worker_kv_blocks{class=\"free\"} 35\n\
            ampd_worker_kv_blocks{class=\"active\"} 20\nampd_worker_kv_blocks{class=\"leased\"} 5\n\
            ampd_worker_kv_blocks{class=\"cached\"} 40\n\
            ampd_worker_windowed_ttft_seconds NaN\nampd_worker_windowed_itl_seconds 0.02\n";
        let reading = WorkerReading::of(&ampd_telemetry::exposition::parse(text.as_bytes()).unwrap());
        let expected = WorkerReading {
            decoding: 3.0,
            prefills: 1.0,
            kv_used: 0.25,
            sessions: 4.0,
            ttft_s: None,
            itl_s: Some(0.02),
        };
        assert_eq!(reading, expected);

        let text = "ampd_rounds_total{outcome=\"ok\"} 9\nampd_rounds_total{outcome=\"error\"} 1\n\
            ampd_rounds_attained_total{objective=\"both\"} 8\nampd_rounds_attained_total{objective=\"ttft\"} 9\n\
            ampd_prefill_decisions_total{target=\"local\",reason=\"decode_slack\"} 2\n\
            ampd_prefill_decisions_total{target=\"remote\",reason=\"prefill_slack\"} 7\n\
            ampd_prefill_decisions_total{target=\"remote\",reason=\"predicted\"} 0\n";
        let reading = SidecarReading::of(&ampd_telemetry::exposition::parse(text.as_bytes()).unwrap());
        assert_eq!((reading.rounds, reading.failed, reading.attained), (9.0, 1.0, 8.0));
        assert_eq!((reading.local, reading.remote), (2.0, 7.0));
        let reasons: Vec<&str> = reading.reasons.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(reasons, ["remote: prefill_slack", "local: decode_slack"]);
    }
}
