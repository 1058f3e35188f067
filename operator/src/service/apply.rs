//! Fourth step: writes what was built.

use ampd_api::AMPDService;
use ampd_render::labels;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::build::Plan;
use super::dereference::{Observed, owned};
use super::kinds::{self, Kind};
use super::observed::is_gated;
use crate::calls::call;
use crate::error::ReconcileError;

/// Who owns the fields that are applied.
pub const MANAGER: &str = "ampd-operator";
/// Tells Kubernetes which pods of a Deployment to remove first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The cluster after the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects written.
    pub written: usize,
    /// Objects removed.
    pub removed: usize,
}

/// Writes to the objects of one service.
pub struct Writer<'a> {
    client: &'a Client,
    namespace: String,
    service: String,
    /// The service's uid.
    owner: String,
    /// Told of each write: its kind and what it was.
    told: &'a (dyn Fn(&'static str, &'static str) + Send + Sync),
}

impl<'a> Writer<'a> {
    /// Writes into the namespace of `resource`.
    #[must_use]
    pub fn new(
        client: &'a Client,
        resource: &AMPDService,
        told: &'a (dyn Fn(&'static str, &'static str) + Send + Sync),
    ) -> Self {
        let owner = resource.uid().unwrap_or_default();
        let (namespace, service) = (resource.namespace().unwrap_or_default(), resource.name_any());
        Self { client, namespace, service, owner, told }
    }

    /// Writes Secrets. They come before everything: pods do not start without them.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn secrets(&self, secrets: &[Secret]) -> Result<(), ReconcileError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        for secret in secrets {
            let name = secret.name_any();
            let action = format!("apply Secret {}/{name}", self.namespace);
            let parameters = PatchParams::apply(MANAGER).force();
            call(action, api.patch(&name, &parameters, &Patch::Apply(secret))).await?;
            (self.told)("Secret", "apply");
        }
        Ok(())
    }

    /// Removes Secrets that nothing wants any more.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn remove_secrets(&self, names: &[String]) -> Result<(), ReconcileError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        for name in names {
            let action = format!("remove Secret {}/{name}", self.namespace);
            call(action, unless_gone(api.delete(name, &DeleteParams::default()))).await?;
            (self.told)("Secret", "delete");
        }
        Ok(())
    }

    /// Writes everything else.
    ///
    /// # Errors
    /// When the API server cannot be asked, or refuses.
    pub async fn plan(&self, plan: &Plan, observed: &Observed) -> Result<Applied, ReconcileError> {
        // Pods are marked before their number falls, or the wrong ones would go.
        self.marks(plan, observed).await?;
        // An object that is refused keeps back nothing but what takes the place of others.
        let mut refused = None;
        for (kind, name, object) in &plan.apply {
            match self.apply(*kind, name, object, observed).await {
                Err(error) if error.is_of_one_object() => refused = refused.or(Some(error)),
                applied => applied?,
            }
        }
        for (kind, name, lists) in &plan.shorten {
            match self.change(*kind, name, lists).await {
                Err(error) if error.is_of_one_object() => refused = refused.or(Some(error)),
                changed => changed?,
            }
        }
        for (name, replicas) in &plan.grow {
            self.change(Kind::Deployment, name, &json!({"spec": {"replicas": replicas}})).await?;
        }
        if refused.is_none() {
            for (kind, name) in &plan.remove {
                self.remove(*kind, name, observed).await?;
            }
        }
        for name in &plan.open {
            if let Some(pod) = observed.pod(name) {
                self.open(name, pod).await?;
            }
        }
        refused.map_or(Ok(Applied { written: plan.apply.len(), removed: plan.remove.len() }), Err)
    }

    async fn apply(
        &self,
        kind: Kind,
        name: &str,
        object: &Value,
        observed: &Observed,
    ) -> Result<(), ReconcileError> {
        let api = kinds::api(self.client, &self.namespace, kind);
        if !observed.children.contains_key(&(kind, name.to_owned())) {
            // Applying takes over what is there, whoever made it.
            let action = format!("get {} {}/{name}", kind.as_str(), self.namespace);
            let found = call(action, api.get_opt(name)).await?;
            unless_of_another(kind.as_str(), found.as_ref(), &self.service, &self.owner)?;
        }
        let action = format!("apply {} {}/{name}", kind.as_str(), self.namespace);
        let parameters = PatchParams::apply(MANAGER).force();
        call(action, api.patch(name, &parameters, &Patch::Apply(object))).await?;
        (self.told)(kind.as_str(), "apply");
        Ok(())
    }

    /// Merges a change into a child.
    async fn change(&self, kind: Kind, name: &str, change: &Value) -> Result<(), ReconcileError> {
        let api = kinds::api(self.client, &self.namespace, kind);
        let action = format!("patch {} {}/{name}", kind.as_str(), self.namespace);
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        call(action, api.patch(name, &parameters, &Patch::Merge(change))).await?;
        (self.told)(kind.as_str(), "patch");
        Ok(())
    }

    /// Removes a child, if it is still the one that was seen.
    async fn remove(&self, kind: Kind, name: &str, observed: &Observed) -> Result<(), ReconcileError> {
        let api = kinds::api(self.client, &self.namespace, kind);
        let seen = observed.children.get(&(kind, name.to_owned()));
        let uid = seen.and_then(|object| object["metadata"]["uid"].as_str()).map(str::to_owned);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::background()
        };
        let action = format!("remove {} {}/{name}", kind.as_str(), self.namespace);
        call(action, unless_gone(api.delete(name, &parameters))).await?;
        (self.told)(kind.as_str(), "delete");
        Ok(())
    }

    async fn marks(&self, plan: &Plan, observed: &Observed) -> Result<(), ReconcileError> {
        let now = jiff::Timestamp::now().to_string();
        let (cost, none) = (json!("-1000"), Value::Null);
        let to_go = plan.drain.mark.iter().map(|name| (name, json!(now), &cost));
        let to_stay = plan.drain.unmark.iter().map(|name| (name, Value::Null, &none));
        for (name, since, cost) in to_go.chain(to_stay) {
            if observed.pod(name).is_some() {
                let change =
                    json!({"metadata": {"annotations": {labels::DRAINING: since, DELETION_COST: cost}}});
                self.pod(name, &Patch::Merge(&change), "mark").await?;
            }
        }
        Ok(())
    }

    /// Lets a pod into the budget.
    async fn open(&self, name: &str, pod: &Pod) -> Result<(), ReconcileError> {
        if !is_gated(pod) {
            return Ok(());
        }
        let change =
            json!({"spec": {"schedulingGates": [{"name": labels::BUDGET_GATE, "$patch": "delete"}]}});
        self.pod(name, &Patch::Strategic(&change), "open").await
    }

    async fn pod(
        &self,
        name: &str,
        change: &Patch<&Value>,
        what: &'static str,
    ) -> Result<(), ReconcileError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let action = format!("{what} Pod {}/{name}", self.namespace);
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        call(action, unless_gone(api.patch(name, &parameters, change))).await?;
        (self.told)("Pod", "patch");
        Ok(())
    }
}

/// What is done to an object, which may be gone by now.
async fn unless_gone<T>(done: impl Future<Output = Result<T, kube::Error>>) -> Result<(), kube::Error> {
    match done.await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Refuses an object that is there and that the service of uid `owner` does not control. One that nobody controls, with all labels of
/// a child of the service of this name, has lost its owner and gets it back.
pub(super) fn unless_of_another<K: Resource>(
    kind: &'static str,
    found: Option<&K>,
    service: &str,
    owner: &str,
) -> Result<(), ReconcileError> {
    let lost = |object: &K| {
        let controlled = object.owner_references().iter().any(|owner| owner.controller == Some(true));
        !controlled
            && labels::service(service).iter().all(|(key, value)| object.labels().get(key) == Some(value))
    };
    match found {
        Some(object) if !owned(object, owner) && !lost(object) => {
            Err(ReconcileError::NameConflict { kind, name: object.name_any() })
        }
        _ => Ok(()),
    }
}
