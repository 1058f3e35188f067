//! Fourth step: writes what was built.

use ampd_api::AMPDService;
use ampd_render::labels;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::build::Plan;
use super::dereference::Observed;
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
        Self { client, namespace: resource.namespace().unwrap_or_default(), told }
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
            refused_name(
                "Secret",
                &name,
                call(action, api.patch(&name, &parameters, &Patch::Apply(secret))).await,
            )?;
            (self.told)("Secret", "apply");
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
        for (kind, name, object) in &plan.apply {
            self.apply(*kind, name, object).await?;
        }
        for (kind, name) in &plan.remove {
            self.remove(*kind, name, observed).await?;
        }
        for name in &plan.open {
            if let Some(pod) = observed.pod(name) {
                self.open(name, pod).await?;
            }
        }
        Ok(Applied { written: plan.apply.len(), removed: plan.remove.len() })
    }

    async fn apply(&self, kind: Kind, name: &str, object: &Value) -> Result<(), ReconcileError> {
        let api = kinds::api(self.client, &self.namespace, kind);
        let action = format!("apply {} {}/{name}", kind.as_str(), self.namespace);
        let parameters = PatchParams::apply(MANAGER).force();
        refused_name(
            kind.as_str(),
            name,
            call(action, api.patch(name, &parameters, &Patch::Apply(object))).await,
        )?;
        (self.told)(kind.as_str(), "apply");
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
        let gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_not_found());
        call(action, async {
            match api.delete(name, &parameters).await {
                Err(error) if !gone(&error) => Err(error),
                _ => Ok(()),
            }
        })
        .await?;
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
        let gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_not_found());
        call(action, async {
            match api.patch(name, &parameters, change).await {
                Err(error) if !gone(&error) => Err(error),
                _ => Ok(()),
            }
        })
        .await?;
        (self.told)("Pod", "patch");
        Ok(())
    }
}

/// The API server lets an object have one controller only: a second one is told as a conflict of names.
fn refused_name<T>(
    kind: &'static str,
    name: &str,
    result: Result<T, ReconcileError>,
) -> Result<T, ReconcileError> {
    match result {
        Err(ReconcileError::ChildRefused { source, .. }) if owned_by_another(&source) => {
            Err(ReconcileError::NameConflict { kind, name: name.to_owned() })
        }
        other => other,
    }
}

fn owned_by_another(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.message.contains("Only one reference can have Controller set to true"))
}
