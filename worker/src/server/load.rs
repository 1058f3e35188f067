//! The worker's load, from the engine's last snapshot and the prefill queue.

use std::sync::Arc;
use std::time::Instant;

use ampd_engine::core::EngineOptions;
use ampd_perfmodel::{Reference, sane};
use ampd_telemetry::LoadSample;

use super::engine::{EngineHandle, Snapshot};
use super::prefill::Queue;
use super::stats::Stats;
use crate::protocol::{DecodingRound, KvBlocks, LoadReport, MOST_TOLD, Role, WaitingPrefill};

/// Where the load is read from.
pub(super) struct Load {
    role: Role,
    engine: EngineHandle,
    stats: Arc<Stats>,
    /// Of a prefill worker.
    queue: Option<Arc<Queue>>,
    options: EngineOptions,
    max_context: usize,
}

impl Load {
    pub(super) fn new(
        role: Role,
        engine: EngineHandle,
        stats: Arc<Stats>,
        queue: Option<Arc<Queue>>,
        options: EngineOptions,
        max_context: usize,
    ) -> Self {
        Self { role, engine, stats, queue, options, max_context }
    }

    /// The load now.
    pub(super) fn report(&self) -> LoadReport {
        self.report_of(&self.engine.load())
    }

    /// The load of a snapshot with its rounds and local prefills one by one.
    pub(super) fn detailed(&self, snapshot: &Snapshot) -> LoadReport {
        let age_s = snapshot.age_s(Instant::now());
        LoadReport {
            decoding: decoding(snapshot, age_s),
            waiting: waiting(snapshot, age_s),
            ..self.report_of(snapshot)
        }
    }

    fn report_of(&self, snapshot: &Snapshot) -> LoadReport {
        let load = &snapshot.engine;
        let waiting = self.queue.as_ref().map(|queue| queue.waiting()).unwrap_or_default();
        let (windowed_ttft_s, windowed_itl_s) = self.stats.windowed();
        let queued_tokens: usize = waiting.iter().map(|part| part.increment).sum();
        let Reference { prefill_s, step_s } = self.stats.reference();
        LoadReport {
            role: self.role,
            running: load.running_decodes as u64,
            queued_prefills: (load.waiting_prefills + waiting.len()) as u64,
            queued_prefill_tokens: (load.waiting_prefill_tokens + queued_tokens) as u64,
            backlog_s: match self.role {
                Role::Prefill => {
                    let parts = waiting.iter().map(|part| (part.history as f64, part.increment as f64));
                    self.batched_s(snapshot, parts)
                }
                Role::Decode => self.beside_decoding_s(snapshot),
            },
            mean_context: load.mean_context,
            windowed_ttft_s,
            windowed_itl_s,
            kv: blocks(snapshot),
            sessions: load.sessions as u64,
            max_context: self.max_context as u64,
            token_budget: self.options.token_budget as u64,
            reference_prefill_s: sane(prefill_s),
            reference_step_s: sane(step_s),
            step_left_s: sane(snapshot.step_left_s(Instant::now())),
            decoding: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Predicted seconds until a prefill worker's engine has computed the prompts that it has.
    pub(super) fn engine_s(&self, snapshot: &Snapshot) -> f64 {
        self.batched_s(snapshot, std::iter::empty())
    }

    /// The same with further prompts, which share the engine's steps.
    fn batched_s(&self, snapshot: &Snapshot, queued: impl Iterator<Item = (f64, f64)>) -> f64 {
        let prefills = snapshot.engine.prefills.iter();
        let parts = prefills.map(|part| (part.history as f64, part.increment as f64)).chain(queued);
        let all_s = self.stats.perf().batches_s(parts, self.options.token_budget as f64);
        // A part of the step that runs is over.
        let now = Instant::now();
        sane(all_s - (snapshot.step_s - snapshot.step_left_s(now)))
    }

    /// Predicted seconds until a decode worker has computed its prompts: they run in order, in chunks that share their
    /// steps with the rounds that decode.
    fn beside_decoding_s(&self, snapshot: &Snapshot) -> f64 {
        let (perf, load) = (self.stats.perf(), &snapshot.engine);
        let prefill: f64 =
            load.prefills.iter().map(|part| perf.prefill_s(part.history as f64, part.increment as f64)).sum();
        let steps = load.waiting_prefill_tokens.div_ceil(self.options.prefill_chunk.max(1)) as f64;
        prefill + steps * perf.decode_s(load.running_decodes as f64, load.mean_context)
    }
}

fn decoding(snapshot: &Snapshot, age_s: f64) -> Vec<DecodingRound> {
    // Of more than can be told, every n-th stands for its neighbours.
    let stride = snapshot.decoding.len().div_ceil(MOST_TOLD).max(1);
    let told = snapshot.decoding.iter().step_by(stride).map(|round| DecodingRound {
        tokens: round.tokens,
        elapsed_s: sane(round.elapsed_s + age_s),
        expected: sane(round.expected),
    });
    told.collect()
}

fn waiting(snapshot: &Snapshot, age_s: f64) -> Vec<WaitingPrefill> {
    let mut told: Vec<WaitingPrefill> = Vec::new();
    for (round, prefill) in snapshot.names.iter().zip(&snapshot.waiting) {
        let full = told.len() >= MOST_TOLD;
        match told.last_mut() {
            Some(last) if full => {
                last.increment = last.increment.saturating_add(prefill.remaining);
            }
            _ => told.push(WaitingPrefill {
                round: round.0,
                history: prefill.history,
                increment: prefill.remaining,
                age_s: sane(prefill.age_s + age_s),
            }),
        }
    }
    told
}

fn blocks(snapshot: &Snapshot) -> KvBlocks {
    let ledger = snapshot.engine.ledger;
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
        token_budget: report.token_budget,
        reference_prefill_seconds: report.reference_prefill_s,
        reference_step_seconds: report.reference_step_s,
        ready,
    }
}

#[cfg(test)]
mod tests {
    use ampd_engine::core::{EngineLoad, RoundId};
    use ampd_scheduler::{Decoding, LocalPrefill};

    use super::*;

    #[test]
    fn long_lists_are_told_in_short() {
        let decoding_round = Decoding { tokens: 3, elapsed_s: 1.0, expected: 9.0 };
        let prefill = LocalPrefill { history: 5, remaining: 10, age_s: 2.0 };
        let snapshot = Snapshot {
            engine: EngineLoad::default(),
            decoding: vec![decoding_round; 3 * MOST_TOLD],
            waiting: vec![prefill; MOST_TOLD + 2],
            names: (0..MOST_TOLD as u64 + 2).map(RoundId).collect(),
            at: Instant::now(),
            order: Vec::new(),
            paced: None,
            step_s: 0.0,
        };
        assert_eq!(decoding(&snapshot, 0.5).len(), MOST_TOLD);
        assert!((decoding(&snapshot, 0.5)[0].elapsed_s - 1.5).abs() < 1e-12);
        let waiting = waiting(&snapshot, 0.5);
        assert_eq!(
            (waiting.len(), waiting[0].increment, waiting[MOST_TOLD - 1].increment),
            (MOST_TOLD, 10, 30)
        );
        assert!((waiting[0].age_s - 2.5).abs() < 1e-12);
    }
}
