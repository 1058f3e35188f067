//! A worker's load as its series show it.

use crate::table::worker::WorkerMetrics;

/// KV blocks by class; free + active + leased + cached = total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvBlocks {
    /// In the pool.
    pub total: u64,
    /// Held by nobody.
    pub free: u64,
    /// Of opened and running rounds.
    pub active: u64,
    /// Reserved for KV on its way in.
    pub leased: u64,
    /// Held only by idle sessions and the prefix cache.
    pub cached: u64,
}

/// A worker's load at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadSample {
    /// Rounds that decode.
    pub running_rounds: u64,
    /// Prefills that wait or run.
    pub queued_prefills: u64,
    /// Their tokens still to compute.
    pub queued_prefill_tokens: u64,
    /// Predicted seconds until all of them are computed.
    pub backlog_seconds: f64,
    /// Mean context of the decoding rounds, tokens.
    pub context_tokens_mean: f64,
    /// Mean time to first token over the window, seconds; `None` without samples.
    pub windowed_ttft_seconds: Option<f64>,
    /// Mean time between output tokens over the window, seconds; `None` without samples.
    pub windowed_itl_seconds: Option<f64>,
    /// The KV pool.
    pub kv_blocks: KvBlocks,
    /// Sessions held.
    pub sessions: u64,
    /// Longest prompt with its output, tokens.
    pub max_context_tokens: u64,
    /// Most tokens of one step.
    pub token_budget: u64,
    /// Predicted time of a prefill of 512 tokens without history, seconds.
    pub reference_prefill_seconds: f64,
    /// Predicted time of a step of 8 rounds with 512 tokens each, seconds.
    pub reference_step_seconds: f64,
    /// Whether the worker takes work.
    pub ready: bool,
}

impl WorkerMetrics {
    /// Shows a load: a reader sees all of it or none.
    pub fn set_load(&self, load: &LoadSample) {
        self.together(|| {
            self.running_rounds.set(load.running_rounds as f64);
            self.queued_prefills.set(load.queued_prefills as f64);
            self.queued_prefill_tokens.set(load.queued_prefill_tokens as f64);
            self.backlog_seconds.set(load.backlog_seconds);
            self.context_tokens_mean.set(load.context_tokens_mean);
            self.windowed_ttft_seconds.set(load.windowed_ttft_seconds.unwrap_or(f64::NAN));
            self.windowed_itl_seconds.set(load.windowed_itl_seconds.unwrap_or(f64::NAN));
            let kv = &load.kv_blocks;
            for (class, blocks) in [
                ("total", kv.total),
                ("free", kv.free),
                ("active", kv.active),
                ("leased", kv.leased),
                ("cached", kv.cached),
            ] {
                self.kv_blocks.with([class]).set(blocks as f64);
            }
            self.sessions.set(load.sessions as f64);
            self.max_context_tokens.set(load.max_context_tokens as f64);
            self.token_budget.set(load.token_budget as f64);
            self.reference_prefill_seconds.set(load.reference_prefill_seconds);
            self.reference_step_seconds.set(load.reference_step_seconds);
            self.ready.set(f64::from(u8::from(load.ready)));
        });
    }
}
