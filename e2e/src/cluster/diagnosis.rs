//! What may tell why a test failed.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::{operator, pods};

/// Prints events, pods and their logs of the namespace and of the operator's. What cannot be had is said and left out:
/// the test's own failure is to be told in any case.
pub(super) async fn print(client: &Client, namespace: &str) {
    for namespace in [namespace, operator::NAMESPACE] {
        if let Err(error) = events(client, namespace).await {
            eprintln!("no events of {namespace}: {error:#}");
        }
        if let Err(error) = all_pods(client, namespace).await {
            eprintln!("no pods of {namespace}: {error:#}");
        }
    }
}

async fn events(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let events = Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
    let mut events = events.items;
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    eprintln!("== {} events of {namespace}", events.len());
    for event in events {
        let object = event.involved_object;
        let text = |text: Option<String>| text.unwrap_or_default();
        let (kind, name) = (text(object.kind), text(object.name));
        eprintln!("{kind}/{name} {}: {}", text(event.reason), text(event.message));
    }
    Ok(())
}

async fn all_pods(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    for pod in api.list(&ListParams::default()).await? {
        let name = pod.name_any();
        let spec = pod.spec.unwrap_or_default();
        eprintln!("== pod {namespace}/{name}: {}", serde_json::to_string_pretty(&pod.status)?);
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            for (previous, run) in [(true, "its previous run"), (false, "its last lines")] {
                if let Ok(log) = pods::logs(&api, &name, &container.name, previous).await {
                    eprintln!("== {name}/{}, {run}:\n{log}", container.name);
                }
            }
        }
    }
    Ok(())
}
