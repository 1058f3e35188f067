//! Clusters of real processes: `ampd local`, or workers and sidecars started one by one with relays in between.

mod environment;
mod ledger;
mod local;
mod manual;
mod metrics;

use serde::Deserialize;

pub use environment::{binary, in_ci, model, python, reference, skipped};
pub use ledger::{Ledger, settled};
pub use local::{LocalCluster, LocalOptions};
pub use manual::{ManualCluster, ManualOptions};
pub use metrics::Metrics;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A prefill worker.
    Prefill,
    /// A decode worker.
    Decode,
    /// A sidecar.
    Sidecar,
}

/// A process of a cluster, as the state file of `ampd local` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its name, such as `decode-0`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its process id; none while it is not running.
    pub pid: Option<u32>,
    /// A worker's control API.
    pub control_url: Option<String>,
    /// A sidecar's OpenAI API.
    pub public_url: Option<String>,
    /// A sidecar's listener for other sidecars.
    pub internal_url: Option<String>,
    /// Where a decode worker moves KV.
    pub kv_addr: Option<String>,
    /// How often it was started again.
    pub restarts: u64,
}

impl Member {
    /// The listener that has its metrics.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn admin_url(&self) -> anyhow::Result<&str> {
        let url = self.control_url.as_deref().or(self.internal_url.as_deref());
        url.ok_or_else(|| anyhow::anyhow!("{} has no address yet", self.name))
    }
}
