//! The decode worker's KV as the transfer protocol reads and writes it, and what its transfers leave in the metrics.

use std::ops::Range;
use std::sync::Arc;

use ampd_engine::core::{EngineError, RoundId};
use ampd_kv::{Flow, KvError, KvStore, Observer, Reason, StoreError, Transfer, TransferReport};
use ampd_telemetry::WorkerMetrics;
use bytes::Bytes;

use super::engine::{EngineGone, EngineHandle};
use super::stats::Stats;

/// KV of the engine's rounds, by the engine's names.
pub(super) struct EngineStore {
    engine: EngineHandle,
}

impl EngineStore {
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { engine }
    }
}

impl KvStore for EngineStore {
    async fn read(&self, round: u64, layer: usize, tokens: Range<usize>) -> Result<Bytes, StoreError> {
        let read = self.engine.transfer(move |core| {
            let mut out = Vec::new();
            core.engine().read_kv(RoundId(round), layer, tokens, &mut out)?;
            Ok(out)
        });
        read.await.map_err(gone)?.map(Bytes::from).map_err(failed)
    }

    async fn write(
        &self,
        round: u64,
        layer: usize,
        tokens: Range<usize>,
        data: Bytes,
    ) -> Result<(), StoreError> {
        let write = self
            .engine
            .transfer(move |core| core.engine().write_remote(RoundId(round), layer, tokens, &data));
        write.await.map_err(gone)?.map_err(failed)
    }
}

fn gone(gone: EngineGone) -> StoreError {
    StoreError::Failed(Box::new(gone))
}

fn failed(error: EngineError) -> StoreError {
    match error {
        EngineError::UnknownRound(_) | EngineError::WrongState { .. } => StoreError::Gone,
        error => StoreError::Failed(Box::new(error)),
    }
}

/// Counts what happens at the KV port.
pub(super) struct KvMetrics(pub Arc<Stats>);

impl Observer for KvMetrics {
    fn refused(&self, reason: Reason) {
        tracing::warn!(reason = reason.label(), "a KV connection was refused");
        self.0.metrics().kv_refused.with([reason.label()]).inc();
    }

    fn transferred(&self, report: &TransferReport) {
        observe(self.0.metrics(), report);
    }
}

/// Ends a transfer whose KV is all pushed.
///
/// # Errors
/// When not all of it was accepted.
pub(super) async fn finish(metrics: &WorkerMetrics, transfer: Transfer) -> Result<(), KvError> {
    let moved = transfer.report();
    let finished = transfer.finish().await;
    match &finished {
        Ok(report) => observe(metrics, report),
        Err(error) => observe(metrics, &given_up(moved, error.reason())),
    }
    finished.map(drop)
}

/// Gives up what is left of a transfer that did not finish.
pub(super) async fn give_up(metrics: &WorkerMetrics, transfer: Transfer, reason: Reason) {
    observe(metrics, &given_up(transfer.report(), reason));
    transfer.abort().await;
}

/// The report of a transfer that was given up for `reason`, unless it had failed before.
fn given_up(report: TransferReport, reason: Reason) -> TransferReport {
    TransferReport { failure: report.failure.or(Some(reason)), ..report }
}

/// Takes a transfer into the metrics, on either side.
fn observe(metrics: &WorkerMetrics, report: &TransferReport) {
    let outcome = match report.failure {
        None => "ok",
        Some(Reason::Aborted | Reason::LeaseReleased) => "cancelled",
        Some(_) => "error",
    };
    for (direction, Flow { bytes, seconds }) in [("pull", report.pulled), ("push", report.pushed)] {
        // A round without history has nothing to pull.
        if bytes == 0 && outcome == "ok" {
            continue;
        }
        metrics.kv_transfers.with([direction, outcome]).inc();
        metrics.kv_transfer_bytes.with([direction]).inc_by(bytes);
        metrics.kv_transfer_seconds.with([direction]).observe(seconds);
    }
}
