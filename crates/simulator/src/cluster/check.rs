//! Clusters that cannot be simulated.

use super::{Cluster, Fault, FaultKind, Pacing, Policies, Role};

/// Something in a configuration that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// No decode worker.
    #[error("a deployment needs a decode worker")]
    NoDecodeWorker,
    /// A number out of its range.
    #[error("{field} is {value}, it must be {wanted}")]
    Number {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// A fault of a worker that there is not.
    #[error("fault {index} is of {role:?} worker {worker}, which there is not")]
    Worker {
        /// The fault, from 0.
        index: usize,
        /// The role.
        role: Role,
        /// The worker.
        worker: u32,
    },
}

fn number(field: &'static str, value: f64, good: bool, wanted: &'static str) -> Result<(), ClusterError> {
    if value.is_finite() && good { Ok(()) } else { Err(ClusterError::Number { field, value, wanted }) }
}

impl Cluster {
    /// Checks the deployment.
    ///
    /// # Errors
    /// Names the first thing that cannot be.
    pub fn check(&self) -> Result<(), ClusterError> {
        if self.decode_workers == 0 {
            return Err(ClusterError::NoDecodeWorker);
        }
        let positive = "positive";
        for (field, value) in [
            ("workers_per_node", f64::from(self.workers_per_node)),
            ("kv_tokens", self.kv_tokens as f64),
            ("block_tokens", f64::from(self.block_tokens)),
            ("kv_bytes_per_token", self.kv_bytes_per_token),
            ("layers", f64::from(self.layers)),
            ("max_context", self.max_context as f64),
            ("links.between_bytes_per_s", self.links.between_bytes_per_s),
            ("links.inside_bytes_per_s", self.links.inside_bytes_per_s),
            ("engine.prefill_chunk", f64::from(self.engine.prefill_chunk)),
            ("engine.max_running", f64::from(self.engine.max_running)),
            ("engine.prefill_budget", f64::from(self.engine.prefill_budget)),
            ("engine.prefill_tasks", f64::from(self.engine.prefill_tasks)),
        ] {
            number(field, value, value > 0.0, positive)?;
        }
        // Places in a context are counted in 32 bits.
        let most = f64::from(u32::MAX);
        number("max_context", self.max_context as f64, self.max_context as f64 <= most, "at most 2^32 - 1")?;
        let budget = self.engine.token_budget;
        let more = "more than engine.max_running, so that a prefill gets a token beside all rows";
        number("engine.token_budget", f64::from(budget), budget > self.engine.max_running, more)?;
        number("links.latency_s", self.links.latency_s, self.links.latency_s >= 0.0, "zero or more")?;
        number("overhead_s", self.overhead_s, self.overhead_s >= 0.0, "zero or more")?;
        let cores = self.cores.map_or(1.0, f64::from);
        number("cores", cores, cores >= 1.0, "positive")
    }
}

impl Cluster {
    /// Checks a worker's KV memory.
    pub(crate) fn check_memory(&self, field: &'static str, kv_tokens: u64) -> Result<(), ClusterError> {
        let (least, tokens) = (u64::from(self.block_tokens), kv_tokens as f64);
        number(field, tokens, kv_tokens >= least, "a block at least")
    }
}

impl Policies {
    /// Checks the pace, and what is known when.
    ///
    /// # Errors
    /// Names the first thing that cannot be.
    pub fn check(&self) -> Result<(), ClusterError> {
        let signals = &self.signals;
        if let Pacing::Fixed { chunk } = self.pacing {
            number("pacing.chunk", f64::from(chunk), chunk > 0, "positive")?;
        }
        number("signals.poll_s", signals.poll_s, signals.poll_s > 0.0, "positive")?;
        number("signals.window_s", signals.window_s, signals.window_s > 0.0, "positive")
    }
}

/// Checks faults against the workers that there are.
pub(crate) fn faults(faults: &[Fault], cluster: &Cluster) -> Result<(), ClusterError> {
    for (index, fault) in faults.iter().enumerate() {
        let workers = match fault.role {
            Role::Prefill => cluster.prefill_workers,
            Role::Decode => cluster.decode_workers,
        };
        if fault.worker >= workers {
            return Err(ClusterError::Worker { index, role: fault.role, worker: fault.worker });
        }
        number("fault.from_s", fault.from_s, fault.from_s >= 0.0, "zero or more")?;
        number("fault.until_s", fault.until_s, fault.until_s >= fault.from_s, "not before its beginning")?;
        if let FaultKind::Slow(factor) = fault.kind {
            number("fault.slow", factor, factor > 0.0, "positive")?;
        }
    }
    Ok(())
}
