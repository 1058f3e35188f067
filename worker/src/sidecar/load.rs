//! A worker's load as routing and binding need it.

use ampd_engine::backend::BLOCK_TOKENS;
use ampd_scheduler::{BindCandidate, DecodeLoad};

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
    /// Tokens of KV that are free or could be freed at once.
    pub free_kv_tokens: u64,
    /// Sessions held.
    pub sessions: u32,
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
            free_kv_tokens: (report.kv.free + report.kv.cached).saturating_mul(BLOCK_TOKENS as u64),
            sessions: narrow(report.sessions),
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
        }
    }

    /// What binding sees.
    pub(super) fn candidate(&self) -> BindCandidate {
        BindCandidate {
            free_kv_tokens: self.free_kv_tokens,
            sessions: self.sessions,
            running: self.running,
            ready: self.ready,
        }
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
