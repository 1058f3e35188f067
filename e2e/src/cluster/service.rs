//! An `AMPDService` in a cluster.

use std::time::Duration;

use ampd_api::AMPDService;
use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;
use tokio::net::TcpStream;

use super::Namespace;

/// How long it may take until a node knows where a service's ready pods are.
const REACHED: Duration = Duration::from_secs(10);

/// A service that clients can use.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its base address, as the node reaches it, without the version.
    pub url: String,
    /// A key of its API.
    pub key: String,
}

/// A condition's status and reason, with its message; nothing where it is not told for the newest generation.
#[must_use]
pub fn condition(service: Option<&AMPDService>, kind: &str) -> Option<(String, String, String)> {
    let service = service?;
    let found = service.status.as_ref()?.conditions.iter().find(|found| found.type_ == kind)?;
    (found.observed_generation == service.metadata.generation)
        .then(|| (found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// Whether all workers that are asked for are ready and none of an older template is left.
#[must_use]
pub fn is_settled(service: Option<&AMPDService>) -> bool {
    let expected = |kind| {
        condition(service, kind).is_some_and(|(status, reason, _)| {
            status == "True" && matches!(&*reason, "AsExpected" | "NoneWanted")
        })
    };
    ["Ready", "DecodeReady", "PrefillReady"].into_iter().all(expected)
}

impl Namespace {
    /// Waits until a service is as its manifest says.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn settled(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.wait_for::<AMPDService>(name, "is as its manifest says", limit, is_settled).await?;
        Ok(())
    }

    /// Waits until a condition of a service has this reason, and gives its message.
    ///
    /// # Errors
    /// When it has another one after `limit`.
    pub async fn reason(
        &self,
        name: &str,
        kind: &'static str,
        reason: &'static str,
        limit: Duration,
    ) -> anyhow::Result<String> {
        let has = move |service: Option<&AMPDService>| {
            condition(service, kind).is_some_and(|(_, found, _)| found == reason)
        };
        let found = self.wait_for::<AMPDService>(name, &format!("has {kind} {reason}"), limit, has).await?;
        Ok(condition(found.as_ref(), kind).map(|(_, _, message)| message).unwrap_or_default())
    }

    /// Changes fields of a service.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn change(&self, name: &str, change: Value) -> anyhow::Result<()> {
        self.api::<AMPDService>().patch(name, &PatchParams::default(), &Patch::Merge(&change)).await?;
        Ok(())
    }

    /// Where a service is reached, and a key that the operator has made.
    ///
    /// # Errors
    /// When either is not there.
    pub async fn served(&self, name: &str) -> anyhow::Result<Served> {
        let service = self.api::<Service>().get(name).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
        let secret = self.api::<Secret>().get(&format!("{name}-api-keys")).await?;
        let key = secret.data.and_then(|mut data| data.remove("key")).context("no key")?;
        // Nodes learn of a pod that is ready a moment after everybody else.
        let reached = async {
            while TcpStream::connect((&*address, 80)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(REACHED, reached).await.context("nobody answers at the service's address")?;
        Ok(Served { url: format!("http://{address}"), key: String::from_utf8(key.0)? })
    }

    /// The name of the one Deployment of a role.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub async fn only_deployment(&self, role: &str) -> anyhow::Result<String> {
        let labels = format!("app.kubernetes.io/component={role}");
        let found = self.api::<Deployment>().list(&ListParams::default().labels(&labels)).await?.items;
        let mut names = found.into_iter().filter_map(|found| found.metadata.name);
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            (one, _) => {
                anyhow::bail!("{} Deployments of {role}", if one.is_some() { "several" } else { "no" })
            }
        }
    }
}
