//! A worker's load as routing and binding need it.

use ampd_engine::backend::BLOCK_TOKENS;
use ampd_perfmodel::Reference;
use ampd_scheduler::DecodeLoad;
use ampd_telemetry::exposition::{Sample, parse};

use crate::protocol::LoadReport;

/// A worker's load at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct WorkerLoad {
    /// Whether it takes work.
    pub ready: bool,
    /// Rounds that decode.
    pub running: u32,
    /// Predicted seconds of its prefills, waiting and running.
    pub backlog_s: f64,
    /// Mean context of the decoding rounds, tokens.
    pub mean_context: f64,
    /// Mean time to first token over its window, seconds.
    pub windowed_ttft_s: Option<f64>,
    /// Mean time between tokens over its window, seconds.
    pub windowed_itl_s: Option<f64>,
    /// Tokens of KV that it has room for.
    pub kv_tokens: u64,
    /// Tokens of KV that are free or could be freed at once.
    pub free_kv_tokens: u64,
    /// Tokens of KV that rounds hold.
    pub round_kv_tokens: u64,
    /// Tokens of KV that are lost with the worker: of rounds, of idle sessions and of the prefix cache.
    pub held_kv_tokens: u64,
    /// Sessions held.
    pub sessions: u32,
    /// Longest prompt with its output that it can hold, tokens.
    pub max_context: u64,
    /// Most tokens of one step; 0 where that is not told.
    pub token_budget: u32,
    /// Predicted seconds until its present step ends; 0 where that is not told.
    pub step_left_s: f64,
    /// Its speed, as it predicts it; zeros where that is not told.
    pub speed: Speed,
}

/// What two workers' speeds are compared by, see [`Reference`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Speed {
    /// Seconds of the prefill of reference.
    pub prefill_s: f64,
    /// Seconds of the decode step of reference.
    pub step_s: f64,
}

impl From<Speed> for Reference {
    fn from(Speed { prefill_s, step_s }: Speed) -> Self {
        Self { prefill_s, step_s }
    }
}

impl From<&LoadReport> for WorkerLoad {
    fn from(report: &LoadReport) -> Self {
        Self {
            ready: true,
            running: narrow(report.running),
            backlog_s: report.backlog_s,
            mean_context: report.mean_context,
            windowed_ttft_s: report.windowed_ttft_s,
            windowed_itl_s: report.windowed_itl_s,
            kv_tokens: report.kv.total.saturating_mul(BLOCK_TOKENS as u64),
            free_kv_tokens: (report.kv.free + report.kv.cached).saturating_mul(BLOCK_TOKENS as u64),
            round_kv_tokens: report.kv.active.saturating_mul(BLOCK_TOKENS as u64),
            held_kv_tokens: (report.kv.active + report.kv.leased + report.kv.cached)
                .saturating_mul(BLOCK_TOKENS as u64),
            sessions: narrow(report.sessions),
            max_context: report.max_context,
            token_budget: narrow(report.token_budget),
            step_left_s: report.step_left_s,
            speed: Speed { prefill_s: report.reference_prefill_s, step_s: report.reference_step_s },
        }
    }
}

impl WorkerLoad {
    /// What a routing policy sees of the bound decode worker.
    pub(super) fn decode(&self) -> DecodeLoad {
        DecodeLoad {
            windowed_itl_s: self.windowed_itl_s,
            running: self.running,
            mean_context: self.mean_context,
            queued_prefill_s: self.backlog_s,
            step_left_s: self.step_left_s,
        }
    }
}

/// What all series of a worker's load begin with.
pub(super) const PREFIX: &str = "ampd_worker_";

/// A text that holds no load.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the load is not in Prometheus' text form")]
    Form(#[from] ampd_telemetry::exposition::ParseError),
    #[error("the load lacks the series {PREFIX}{0}")]
    Lacks(&'static str),
}

impl WorkerLoad {
    /// Reads a worker's `/metrics/load`.
    pub(super) fn parse(text: &str) -> Result<Self, LoadError> {
        Self::from_samples(&parse(text.as_bytes())?)
    }

    /// Finds the load in the samples of one worker.
    pub(super) fn from_samples(samples: &[Sample]) -> Result<Self, LoadError> {
        let find = |name: &'static str, class: Option<&str>| {
            samples
                .iter()
                .find(|sample| {
                    sample.name.strip_prefix(PREFIX) == Some(name) && sample.label("class") == class
                })
                .map(|sample| sample.value)
                .ok_or(LoadError::Lacks(name))
        };
        let count = |name, class| find(name, class).map(whole);
        // Windows without samples are NaN.
        let mean = |name| find(name, None).map(|value| Some(value).filter(|value| value.is_finite()));
        // Workers of another version may not tell these.
        let told = |name| find(name, None).ok().filter(|value| value.is_finite()).unwrap_or(0.0);
        let cached = count("kv_blocks", Some("cached"))?;
        let reclaimable = count("kv_blocks", Some("free"))? + cached;
        let active = count("kv_blocks", Some("active"))?;
        let held = active + count("kv_blocks", Some("leased"))? + cached;
        Ok(Self {
            ready: find("ready", None)? == 1.0,
            running: narrow(count("running_rounds", None)?),
            backlog_s: find("backlog_seconds", None)?,
            mean_context: find("context_tokens_mean", None)?,
            windowed_ttft_s: mean("windowed_ttft_seconds")?,
            windowed_itl_s: mean("windowed_itl_seconds")?,
            kv_tokens: count("kv_blocks", Some("total"))?.saturating_mul(BLOCK_TOKENS as u64),
            free_kv_tokens: reclaimable.saturating_mul(BLOCK_TOKENS as u64),
            round_kv_tokens: active.saturating_mul(BLOCK_TOKENS as u64),
            held_kv_tokens: held.saturating_mul(BLOCK_TOKENS as u64),
            sessions: narrow(count("sessions", None)?),
            max_context: count("max_context_tokens", None)?,
            token_budget: narrow(whole(told("token_budget"))),
            step_left_s: 0.0,
            speed: Speed {
                prefill_s: told("reference_prefill_seconds"),
                step_s: told("reference_step_seconds"),
            },
        })
    }
}

/// A count from a series: at most 2^40, so that sums of some stay far from overflow; nonsense is 0.
fn whole(value: f64) -> u64 {
    value.clamp(0.0, (1_u64 << 40) as f64) as u64
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use ampd_telemetry::{KvBlocks, LoadSample, WorkerMetrics};

    use super::*;

    #[test]
    fn what_a_worker_renders_is_read() {
        let metrics = WorkerMetrics::new("default/chat", "prefill", "p0").unwrap();
        let sample = LoadSample {
            running_rounds: 3,
            queued_prefills: 2,
            queued_prefill_tokens: 100,
            backlog_seconds: 0.5,
            context_tokens_mean: 12.5,
            windowed_ttft_seconds: Some(0.25),
            windowed_itl_seconds: None,
            kv_blocks: KvBlocks { total: 10, free: 4, active: 3, leased: 1, cached: 2 },
            sessions: 7,
            max_context_tokens: 320,
            token_budget: 512,
            reference_prefill_seconds: 0.5,
            reference_step_seconds: 0.25,
            ready: true,
        };
        metrics.set_load(&sample);
        let text = metrics.render_load().unwrap();
        let expected = WorkerLoad {
            ready: true,
            running: 3,
            backlog_s: 0.5,
            mean_context: 12.5,
            windowed_ttft_s: Some(0.25),
            windowed_itl_s: None,
            kv_tokens: 10 * BLOCK_TOKENS as u64,
            free_kv_tokens: 6 * BLOCK_TOKENS as u64,
            round_kv_tokens: 3 * BLOCK_TOKENS as u64,
            held_kv_tokens: 6 * BLOCK_TOKENS as u64,
            sessions: 7,
            max_context: 320,
            token_budget: 512,
            step_left_s: 0.0,
            speed: Speed { prefill_s: 0.5, step_s: 0.25 },
        };
        assert_eq!(WorkerLoad::parse(&text).unwrap(), expected);
        // A worker of another version.
        let old = text.lines().filter(|line| !line.contains("reference") && !line.contains("token_budget"));
        let old = WorkerLoad::parse(&old.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(old, WorkerLoad { token_budget: 0, speed: Speed::default(), ..expected });
        let without = text.lines().filter(|line| !line.contains("backlog")).collect::<Vec<_>>().join("\n");
        assert!(matches!(WorkerLoad::parse(&without), Err(LoadError::Lacks("backlog_seconds"))));
        assert!(matches!(WorkerLoad::parse("{nonsense"), Err(LoadError::Form(_))));
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        assert_eq!((whole(f64::NAN), whole(-1.0), whole(f64::INFINITY)), (0, 0, 1 << 40));
    }
}
