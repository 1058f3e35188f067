//! The metrics that every process has, under the names that Prometheus' own client libraries give them.

use super::{Kind, Metric};

/// Resident memory.
pub const RESIDENT: Metric = row("process_resident_memory_bytes", "bytes", "Resident memory.");
/// Open file descriptors.
pub const OPEN_FDS: Metric = row("process_open_fds", "files", "Open file descriptors.");
/// Threads.
pub const THREADS: Metric = row("process_threads", "threads", "Threads.");
/// Start.
pub const START: Metric =
    row("process_start_time_seconds", "seconds", "Start of the process since the Unix epoch.");

/// All of them.
pub static TABLE: &[Metric] = &[RESIDENT, OPEN_FDS, THREADS, START];

const fn row(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help, ..Metric::EMPTY }
}
