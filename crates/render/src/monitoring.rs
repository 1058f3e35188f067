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
