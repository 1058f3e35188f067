//! What the service tells of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the service tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Whether a `PodMonitor` is made, where the cluster knows that kind.
    pub pod_monitor: bool,
    /// Whether a `PrometheusRule` is made, where the cluster knows that kind.
    pub prometheus_rule: bool,
    /// What workers and sidecars log, as `info` or `ampd_worker=debug,info`.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[A-Za-z0-9_:=,.\[\]{}-]+$"))]
    pub log_filter: String,
}

impl Default for Observability {
    fn default() -> Self {
        Self { pod_monitor: true, prometheus_rule: true, log_filter: "info".into() }
    }
}
