//! What the Prometheus operator is told, where the cluster has one.

use serde_json::{Value, json};

use crate::ports::{CONTROL, SIDECAR};
use crate::{Input, labels, names};

/// The group and version of both kinds.
pub const VERSION: &str = "monitoring.coreos.com/v1";

/// Scrapes workers and sidecars with the certificate that may read metrics and nothing else.
pub(crate) fn pod_monitor(input: &Input<'_>) -> Value {
    let name = input.name();
    let secret = names::certificate(name, "monitor");
    let endpoint = |port: &str| {
        json!({
            "port": port,
            "scheme": "https",
            "path": "/metrics",
            "interval": "15s",
            "tlsConfig": {
                "ca": {"secret": {"name": secret, "key": "ca.pem"}},
                "cert": {"secret": {"name": secret, "key": "cert.pem"}},
                "keySecret": {"name": secret, "key": "key.pem"},
                "serverName": crate::SERVER_NAME,
            },
        })
    };
    json!({
        "apiVersion": VERSION,
        "kind": "PodMonitor",
        "metadata": input.metadata(name.to_owned(), labels::service(name)),
        "spec": {
            "selector": {"matchLabels": {labels::INSTANCE: name, labels::NAME.0: labels::NAME.1}},
            "podMetricsEndpoints": [endpoint(CONTROL.name), endpoint(SIDECAR.name)],
        },
    })
}

/// Alerts on the objectives and on what breaks them.
pub(crate) fn prometheus_rule(input: &Input<'_>) -> Value {
    let name = input.name();
    let service = format!("{}/{name}", input.service.namespace);
    let target = input.service.slo.target;
    let of = |metric: &str, window: &str| {
        format!(
            "sum(rate({metric}[{window}]))",
            metric = metric.replace('@', &format!("ampd_service=\"{service}\""))
        )
    };
    let share = |window: &str| {
        format!(
            "{} / {}",
            of("ampd_rounds_attained_total{@,objective=\"both\"}", window),
            of("ampd_rounds_total{@,outcome=\"ok\"}", window)
        )
    };
    let alert = |alert: &str, expr: String, wait: &str, severity: &str, summary: &str| {
        json!({
            "alert": alert, "expr": expr, "for": wait,
            "labels": {"severity": severity, "ampd_service": service},
            "annotations": {"summary": summary},
        })
    };
    let fallbacks = of("ampd_remote_fallbacks_total{@}", "5m");
    let remote = of("ampd_prefill_decisions_total{@,target=\"remote\"}", "5m");
    json!({
        "apiVersion": VERSION,
        "kind": "PrometheusRule",
        "metadata": input.metadata(name.to_owned(), labels::service(name)),
        "spec": {"groups": [{"name": format!("ampd-{name}"), "rules": [
            alert(
                "AMPDObjectivesMissed",
                format!("{} < {target} and {} < {target}", share("5m"), share("1h")),
                "5m",
                "warning",
                "Fewer rounds meet the objectives of time to first token and inter-token latency than the target.",
            ),
            alert(
                "AMPDRemotePrefillsFail",
                format!("{fallbacks} / {remote} > 0.05"),
                "10m",
                "warning",
                "More than 5 % of remote prefills fail and run locally instead.",
            ),
        ]}]},
    })
}
