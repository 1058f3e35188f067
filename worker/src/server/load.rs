//! The worker's load, from the engine's last snapshot and the prefill queue.

use std::sync::Arc;

use ampd_engine::core::EngineLoad;
use ampd_telemetry::LoadSample;

use super::engine::EngineHandle;
use super::prefill::Queue;
use super::stats::Stats;
use crate::protocol::{KvBlocks, LoadReport, Role};

/// Where the load is read from.
pub(super) struct Load {
    role: Role,
    engine: EngineHandle,
    stats: Arc<Stats>,
    /// Of a prefill worker.
    queue: Option<Arc<Queue>>,
    chunk: usize,
    max_context: usize,
}

impl Load {
    pub(super) fn new(
        role: Role,
        engine: EngineHandle,
        stats: Arc<Stats>,
        queue: Option<Arc<Queue>>,
        chunk: usize,
        max_context: usize,
    ) -> Self {
        Self { role, engine, stats, queue, chunk, max_context }
    }

    /// The load now.
    pub(super) fn report(&self) -> LoadReport {
        let load = self.engine.load();
        let waiting = self.queue.as_ref().map(|queue| queue.waiting()).unwrap_or_default();
        let perf = self.stats.perf();
        let queued_s: f64 =
            waiting.iter().map(|part| perf.prefill_s(part.history as f64, part.increment as f64)).sum();
        let (windowed_ttft_s, windowed_itl_s) = self.stats.windowed();
        let queued_tokens: usize = waiting.iter().map(|part| part.increment).sum();
        LoadReport {
            role: self.role,
            running: load.running_decodes as u64,
            queued_prefills: (load.waiting_prefills + waiting.len()) as u64,
            queued_prefill_tokens: (load.waiting_prefill_tokens + queued_tokens) as u64,
            backlog_s: queued_s + self.engine_backlog_s(&load),
            mean_context: load.mean_context,
            windowed_ttft_s,
            windowed_itl_s,
            kv: blocks(&load),
            sessions: load.sessions as u64,
            max_context: self.max_context as u64,
        }
    }

    /// Predicted seconds until the engine has computed the prompts that it has: they run in order, in chunks that share
    /// their steps with the rounds that decode.
    pub(super) fn engine_backlog_s(&self, load: &EngineLoad) -> f64 {
        let perf = self.stats.perf();
        let prefill: f64 = load
            .prefill_parts
            .iter()
            .map(|part| perf.prefill_s(part.history as f64, part.increment as f64))
            .sum();
        let steps = load.waiting_prefill_tokens.div_ceil(self.chunk.max(1)) as f64;
        prefill + steps * perf.decode_s(load.running_decodes as f64, load.mean_context)
    }
}

fn blocks(load: &EngineLoad) -> KvBlocks {
    let ledger = load.ledger;
    KvBlocks {
        total: ledger.total as u64,
        free: ledger.free as u64,
        active: ledger.active as u64,
        leased: ledger.leased as u64,
        cached: ledger.cached as u64,
    }
}

/// The load as the series of `/metrics/load` show it.
pub(super) fn sample(report: &LoadReport, ready: bool) -> LoadSample {
    let kv = report.kv;
    LoadSample {
        running_rounds: report.running,
        queued_prefills: report.queued_prefills,
        queued_prefill_tokens: report.queued_prefill_tokens,
        backlog_seconds: report.backlog_s,
        context_tokens_mean: report.mean_context,
        windowed_ttft_seconds: report.windowed_ttft_s,
        windowed_itl_seconds: report.windowed_itl_s,
        kv_blocks: ampd_telemetry::KvBlocks {
            total: kv.total,
            free: kv.free,
            active: kv.active,
            leased: kv.leased,
            cached: kv.cached,
        },
        sessions: report.sessions,
        max_context_tokens: report.max_context,
        ready,
    }
}
