//! What every program of AMPD tells about itself: metrics, logs and traces.
//!
//! A metric exists only if it is a row of the table: [`WorkerMetrics`], [`SidecarMetrics`] and
//! [`OperatorMetrics`] are made from it, and `docs/metrics.md` is written from it.

mod chain;
pub mod exposition;
pub mod family;
pub mod load;
pub mod logging;
mod process;
pub mod table;
pub mod trace;

pub use chain::chain;
pub use family::{Counters, Gauges, Histograms};
pub use load::{KvBlocks, LoadSample};
pub use prometheus::{Gauge, Histogram, IntCounter};
pub use table::operator::OperatorMetrics;
pub use table::sidecar::SidecarMetrics;
pub use table::worker::WorkerMetrics;
pub use trace::TraceContext;

/// The content type of every exposition.
pub use prometheus::TEXT_FORMAT;

/// Metrics that cannot be made or rendered: a defect of the table, or a label value that cannot be a constant.
#[derive(Debug, thiserror::Error)]
#[error("metric {name}")]
pub struct MetricsError {
    /// The metric's name; empty for all of them.
    pub name: String,
    /// What happened.
    #[source]
    pub source: prometheus::Error,
}
