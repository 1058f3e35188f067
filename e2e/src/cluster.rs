//! The cluster that `cargo xtask e2e` starts, for the tests in `tests/cluster`: it runs them in the cluster's network.

mod diagnosis;
mod namespace;
mod objects;
pub mod operator;
mod pods;
pub mod service;
pub mod state;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::Context;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use namespace::{Namespace, with_namespace};
pub use pods::Output;

/// The image with `ampd-worker`, `ampd-sidecar` and a shell.
pub const WORKER_IMAGE: &str = "localhost/ampd-worker:e2e";
/// The image with `ampd-operator`.
pub const OPERATOR_IMAGE: &str = "localhost/ampd-operator:e2e";

/// A client of the cluster, as its administrator.
///
/// # Errors
/// When there is no cluster.
pub async fn connect() -> anyhow::Result<Client> {
    let variable = "KUBECONFIG";
    anyhow::ensure!(
        std::env::var_os(variable).is_some(),
        "{variable} is not set: `cargo xtask e2e` runs these tests, as does `cargo xtask cluster exec -- cargo test ...`"
    );
    let config = Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await?;
    Client::try_from(config).context("no client of the cluster")
}

/// Waits until the object `name` fulfils the condition. An object that is not there may.
///
/// # Errors
/// When it does not within `limit`; the error shows the object as it is then.
pub async fn wait_for<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    condition: impl Condition<K>,
) -> anyhow::Result<Option<K>>
where
    K: Resource + Clone + Debug + Send + Serialize + DeserializeOwned + 'static,
{
    let waited = tokio::time::timeout(limit, await_condition(api.clone(), name, condition)).await;
    let missing = match waited {
        Ok(Ok(object)) => return Ok(object),
        Ok(Err(error)) => anyhow::Error::from(error),
        Err(_) => match api.get_opt(name).await? {
            Some(object) => anyhow::anyhow!("it is {}", show(object)?),
            None => anyhow::anyhow!("it is not there"),
        },
    };
    Err(missing.context(format!("{name} {what}: not within {limit:?}")))
}

/// An object as text, without what no reader looks for.
fn show<K: Resource + Serialize>(mut object: K) -> anyhow::Result<String> {
    object.managed_fields_mut().clear();
    Ok(serde_json::to_string_pretty(&object)?)
}
