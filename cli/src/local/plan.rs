//! What is to be run: the manifest with the command line's changes, in the terms of local processes.

use std::path::PathBuf;
use std::time::Duration;

use ampd_api::Service;

/// What is to be run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The manifest with the command line's changes; numbers of workers and threads are those below.
    pub(crate) service: Service,
    /// The model's file or folder.
    pub(crate) model: PathBuf,
    /// Engine backend.
    pub(crate) backend: String,
    /// The decode workers.
    pub(crate) decode: Workers,
    /// The prefill workers.
    pub(crate) prefill: Workers,
    /// The children's own time to finish at the end.
    pub(crate) grace: Duration,
    /// Logging filter of the children.
    pub(crate) log_filter: String,
}

/// The workers of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Threads of each.
    pub(crate) threads: Vec<usize>,
    /// KV pool of each, bytes.
    pub(crate) kv_memory: u64,
}

/// Smallest and largest KV pool that a worker gets by itself.
const KV_MEMORY: (u64, u64) = (64 << 20, 1 << 30);

/// The KV pool of each of `workers` workers: a quarter of the free memory between them, within bounds.
pub(crate) fn default_kv_memory(workers: usize) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let share = kib.map_or(KV_MEMORY.0, |kib| kib * 1024 / 4 / workers.max(1) as u64);
    share.clamp(KV_MEMORY.0, KV_MEMORY.1)
}
