//! The block ledger of workers, as their metrics tell it.

use std::time::{Duration, Instant};

use super::{Member, Metrics, Role};

/// KV blocks of a worker by class, and its transfers' leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
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
    /// Leases of transfers.
    pub leases: u64,
}

impl Ledger {
    /// Reads that of a worker.
    ///
    /// # Errors
    /// When it does not answer or lacks a series.
    pub async fn read(http: &reqwest::Client, worker: &Member) -> anyhow::Result<Self> {
        let metrics = Metrics::read(http, worker).await?;
        let blocks = |class: &str| metrics.value("ampd_worker_kv_blocks", &[("class", class)]);
        Ok(Self {
            total: blocks("total")? as u64,
            free: blocks("free")? as u64,
            active: blocks("active")? as u64,
            leased: blocks("leased")? as u64,
            cached: blocks("cached")? as u64,
            leases: metrics.value("ampd_worker_leases", &[])? as u64,
        })
    }

    /// Whether every block is in one class, and none is held by work.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.free + self.cached == self.total && self.active + self.leased + self.leases == 0
    }
}

/// Waits until every worker that runs holds nothing but caches.
///
/// # Errors
/// When one still does after `limit`, which is for all of them together; the error has its ledger.
pub async fn settled(http: &reqwest::Client, members: &[Member], limit: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    for worker in members.iter().filter(|member| member.role != Role::Sidecar && member.pid.is_some()) {
        let left = limit.saturating_sub(start.elapsed());
        crate::wait::until(&format!("the ledger of {}", worker.name), left, async || {
            let ledger = Ledger::read(http, worker).await?;
            anyhow::ensure!(ledger.idle(), "{ledger:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    Ok(())
}
