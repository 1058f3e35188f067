//! A namespace for one test.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::runtime::wait::Condition;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{connect, diagnosis, objects, pods};

/// A namespace whose pods have to keep to the restricted Pod Security Standard.
#[derive(Clone)]
pub struct Namespace {
    /// The client that made it.
    pub client: Client,
    /// Its name.
    pub name: String,
}

/// Runs a test in a new namespace, which is removed afterwards. When the test fails, everything that may tell why is
/// printed first.
///
/// # Errors
/// That of the test, or when there is no cluster.
pub async fn with_namespace(test: impl AsyncFnOnce(&Namespace) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let namespace = Namespace::make(connect().await?).await?;
    let result = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    if !matches!(result, Ok(Ok(()))) {
        // The error comes again at the end, but of long output only the beginning may be kept.
        if let Ok(Err(error)) = &result {
            eprintln!("== {error:?}");
        }
        diagnosis::print(&namespace.client, &namespace.name).await;
    }
    let removed = namespace.remove().await;
    match result {
        Ok(Ok(())) => removed,
        Ok(Err(error)) => Err(error),
        Err(panic) => resume_unwind(panic),
    }
}

impl Namespace {
    async fn make(client: Client) -> anyhow::Result<Self> {
        let name = format!("test-{:08x}", rand::random::<u32>());
        let object = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            }},
        }))?;
        let api = Api::<NamespaceObject>::all(client.clone());
        api.create(&PostParams::default(), &object).await.context("cannot make a namespace")?;
        Ok(Self { client, name })
    }

    /// The namespace's objects of one kind.
    #[must_use]
    pub fn api<K: Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Applies the objects of a YAML text on the server; those of a kind with namespaces get into this one.
    ///
    /// # Errors
    /// When one is refused; those before it stay.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
        objects::apply(&self.client, &self.name, yaml).await
    }

    /// Waits until an object fulfils a condition: see [`super::wait_for`].
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn wait_for<K>(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        condition: impl Condition<K>,
    ) -> anyhow::Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K: Clone + Debug + Send + Serialize + DeserializeOwned + 'static,
        K::DynamicType: Default,
    {
        super::wait_for(&self.api::<K>(), name, what, limit, condition).await
    }

    /// The names of the pods that a selector of labels finds.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn pods(&self, labels: &str) -> anyhow::Result<Vec<String>> {
        let pods = self.api::<Pod>().list(&ListParams::default().labels(labels)).await?;
        Ok(pods.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    /// What a container has written.
    ///
    /// # Errors
    /// When there is no such container, or it has not started.
    pub async fn logs(&self, pod: &str, container: &str) -> anyhow::Result<String> {
        pods::logs(&self.api(), pod, container, false).await
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in what is given back.
    pub async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> anyhow::Result<pods::Output> {
        pods::exec(&self.api(), pod, container, command).await
    }

    /// Its pods go at once, as what comes next needs the machine; the rest goes in its own time.
    async fn remove(&self) -> anyhow::Result<()> {
        let now = DeleteParams::default().grace_period(0);
        let namespaces = Api::<NamespaceObject>::all(self.client.clone());
        match namespaces.delete(&self.name, &DeleteParams::default()).await {
            // The test may have done so.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            removed => removed.context("cannot remove the namespace")?,
        };
        self.api::<Pod>().delete_collection(&now, &ListParams::default()).await?;
        Ok(())
    }
}
