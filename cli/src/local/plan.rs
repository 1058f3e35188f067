//! What is to be run: the manifest with the command line's changes, in the terms of local processes.

use std::path::PathBuf;
use std::time::Duration;

/// How prefills are routed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Routing {
    /// `paper`, `always_local` or `always_remote`.
    pub(crate) policy: String,
    /// Share of the TTFT objective below which a prefill worker counts as free.
    pub(crate) alpha: Option<f64>,
    /// Share of the ITL objective below which the decode worker counts as free.
    pub(crate) beta: Option<f64>,
    /// Shortest increment that may go remote, tokens.
    pub(crate) min_remote_tokens: Option<u32>,
    /// Over how long statistics are taken.
    pub(crate) window: Option<Duration>,
    /// Queued prefills that are looked at for a better order.
    pub(crate) lookahead: Option<u32>,
    /// How often a queued prefill may be overtaken.
    pub(crate) postponement_cap: Option<u32>,
    /// `local` or `fail`.
    pub(crate) on_remote_failure: Option<String>,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The service's namespace.
    pub(crate) namespace: String,
    /// The service's name.
    pub(crate) service: String,
    /// The model's name in the API.
    pub(crate) model_name: String,
    /// The model's file or folder.
    pub(crate) model: PathBuf,
    /// Cap of the model's context, tokens.
    pub(crate) max_context: Option<u32>,
    /// Objective for the time to the first token.
    pub(crate) slo_ttft: Duration,
    /// Objective for the mean time between tokens.
    pub(crate) slo_itl: Duration,
    /// Routing.
    pub(crate) routing: Routing,
    /// Request headers that may name a session; the sidecar's own when empty.
    pub(crate) session_headers: Vec<String>,
    /// How long an idle session keeps its KV.
    pub(crate) session_ttl: Option<Duration>,
    /// Engine backend.
    pub(crate) backend: String,
    /// KV pool of each worker, bytes.
    pub(crate) kv_memory: u64,
    /// From the request to stop to the kill.
    pub(crate) grace: Duration,
    /// Threads of each decode worker.
    pub(crate) decode_threads: Vec<usize>,
    /// Threads of each prefill worker.
    pub(crate) prefill_threads: Vec<usize>,
    /// Logging filter of the children.
    pub(crate) log_filter: String,
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
