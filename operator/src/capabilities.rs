//! Which kinds of the Prometheus operator the cluster knows.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::calls::call;
use crate::context::Context;
use crate::error::{ReconcileError, chain};
use crate::service::dereference::Capabilities;

/// How often it is looked at: somebody may install the Prometheus operator later.
const EVERY: Duration = Duration::from_mins(5);
const GROUP_VERSION: &str = "monitoring.coreos.com/v1";

/// Asks the API server.
///
/// # Errors
/// When it cannot be asked.
pub(crate) async fn ask(client: &Client) -> Result<Capabilities, ReconcileError> {
    let groups = call("list API groups", client.list_api_groups()).await?;
    let served = groups.groups.iter().flat_map(|group| &group.versions);
    if !served.into_iter().any(|version| version.group_version == GROUP_VERSION) {
        return Ok(Capabilities::default());
    }
    let resources = call("list monitoring kinds", client.list_api_group_resources(GROUP_VERSION)).await?;
    let has = |kind: &str| resources.resources.iter().any(|resource| resource.kind == kind);
    Ok(Capabilities { pod_monitor: has("PodMonitor"), prometheus_rule: has("PrometheusRule") })
}

/// Keeps what is known up to date, until `stop`.
pub(crate) async fn follow(context: Arc<Context>, stop: CancellationToken) {
    loop {
        match ask(&context.client).await {
            Ok(found) => *context.known.write() = found,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "the cluster's kinds are not known; the last ones stay"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
