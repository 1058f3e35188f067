//! First step: what there is in the cluster, of the service and of what it refers to.

use std::collections::BTreeMap;

use ampd_api::service::ApiAuth;
use ampd_api::{AMPDPrefillScale, AMPDService};
use ampd_render::{Role, labels};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role as AccessRole, RoleBinding};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::apply::unless_of_another;
use super::kinds::{self, Kind};
use super::secrets;
use crate::calls::call;
use crate::error::ReconcileError;

/// Which kinds of the Prometheus operator the cluster knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `PodMonitor`.
    pub pod_monitor: bool,
    /// `PrometheusRule`.
    pub prometheus_rule: bool,
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What the cluster knows.
    pub capabilities: Capabilities,
    /// The service's children, by kind and name.
    pub children: BTreeMap<(Kind, String), serde_json::Value>,
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// Its pods, terminating ones too.
    pub pods: Vec<Pod>,
    /// Its Secrets, by name.
    pub secrets: secrets::Found,
    /// Secrets of its own that it does not need any more.
    pub unwanted_secrets: Vec<String>,
    /// The scale of its prefill workers.
    pub prefill_scale: Option<AMPDPrefillScale>,
    /// What it refers to and is not there.
    pub missing: Vec<Missing>,
}

/// Something that a service refers to and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The field that refers to it.
    pub field: String,
    /// What it is: `Secret hub`.
    pub what: String,
}

/// Reads everything that the other steps need.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn dereference(
    client: &Client,
    resource: &AMPDService,
    capabilities: Capabilities,
) -> Result<Observed, ReconcileError> {
    let (name, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
    let mut observed = Observed { capabilities, ..Observed::default() };
    let selector = labels::text(&labels::service(&name));
    let own = Listing { client, namespace: &namespace, selector: &selector };
    let (
        deployments,
        pods,
        services,
        accounts,
        roles,
        bindings,
        budgets,
        policies,
        monitors,
        secrets,
        unwanted_secrets,
        scale,
        missing,
    ) = tokio::try_join!(
        own.list::<Deployment>(),
        own.list::<Pod>(),
        own.list::<Service>(),
        own.list::<ServiceAccount>(),
        own.list::<AccessRole>(),
        own.list::<RoleBinding>(),
        own.list::<PodDisruptionBudget>(),
        own.list::<NetworkPolicy>(),
        own.monitors(capabilities),
        own_secrets(client, &namespace, resource),
        unwanted_secrets(client, &namespace, resource),
        get::<AMPDPrefillScale>(client, &namespace, &name),
        missing(client, &namespace, resource),
    )?;
    let owner = resource.uid().unwrap_or_default();
    let mut children = BTreeMap::new();
    Listing::add(&mut children, &owner, Kind::Deployment, &deployments);
    Listing::add(&mut children, &owner, Kind::Service, &services);
    Listing::add(&mut children, &owner, Kind::ServiceAccount, &accounts);
    Listing::add(&mut children, &owner, Kind::Role, &roles);
    Listing::add(&mut children, &owner, Kind::RoleBinding, &bindings);
    Listing::add(&mut children, &owner, Kind::PodDisruptionBudget, &budgets);
    Listing::add(&mut children, &owner, Kind::NetworkPolicy, &policies);
    for (kind, list) in &monitors {
        Listing::add(&mut children, &owner, *kind, list);
    }
    observed.children = children;
    observed.deployments = deployments.into_iter().filter(|found| owned(found, &owner)).collect();
    observed.pods = pods.into_iter().filter(is_of_a_deployment).collect();
    observed.secrets = secrets;
    observed.unwanted_secrets = unwanted_secrets;
    observed.prefill_scale = scale;
    observed.missing = missing;
    Ok(observed)
}

/// Whether the service of this uid controls the object.
pub(super) fn owned<K: Resource>(object: &K, owner: &str) -> bool {
    object
        .owner_references()
        .iter()
        .any(|reference| reference.uid == owner && reference.controller == Some(true))
}

/// Whether a pod was made for a Deployment: anybody can put labels on a pod of theirs.
fn is_of_a_deployment(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "ReplicaSet" && owner.controller == Some(true))
}

struct Listing<'a> {
    client: &'a Client,
    namespace: &'a str,
    selector: &'a str,
}

impl Listing<'_> {
    async fn list<K>(&self) -> Result<Vec<K>, ReconcileError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let action = format!("list {} of {}", K::plural(&()), self.namespace);
        Ok(call(action, api.list(&ListParams::default().labels(self.selector))).await?.items)
    }

    async fn monitors(
        &self,
        capabilities: Capabilities,
    ) -> Result<Vec<(Kind, Vec<DynamicObject>)>, ReconcileError> {
        let mut found = Vec::new();
        for (there, kind) in [
            (capabilities.pod_monitor, Kind::PodMonitor),
            (capabilities.prometheus_rule, Kind::PrometheusRule),
        ] {
            if there {
                let api = kinds::api(self.client, self.namespace, kind);
                let action = format!("list {} of {}", kind.plural(), self.namespace);
                let list = call(action, api.list(&ListParams::default().labels(self.selector))).await?;
                found.push((kind, list.items));
            }
        }
        Ok(found)
    }

    /// Puts those that the service controls into the inventory.
    fn add<K>(children: &mut BTreeMap<(Kind, String), serde_json::Value>, owner: &str, kind: Kind, list: &[K])
    where
        K: Resource + serde::Serialize,
    {
        for object in list.iter().filter(|object| owned(*object, owner)) {
            let value = serde_json::to_value(object).unwrap_or_default();
            children.insert((kind, object.name_any()), value);
        }
    }
}

async fn own_secrets(
    client: &Client,
    namespace: &str,
    resource: &AMPDService,
) -> Result<secrets::Found, ReconcileError> {
    // Read one by one: the right to list Secrets is the right to read all of them.
    let names = secrets::kept(resource);
    let found = try_join_all(names.iter().map(|name| get::<Secret>(client, namespace, name))).await?;
    let owner = resource.uid().unwrap_or_default();
    for secret in &found {
        unless_of_another("Secret", secret.as_ref(), &resource.name_any(), &owner)?;
    }
    Ok(names.into_iter().zip(found).filter_map(|(name, secret)| Some((name, secret?))).collect())
}

/// The service's own Secrets that it does not need any more.
async fn unwanted_secrets(
    client: &Client,
    namespace: &str,
    resource: &AMPDService,
) -> Result<Vec<String>, ReconcileError> {
    let Some(name) = secrets::not_kept(resource) else { return Ok(Vec::new()) };
    let found = get::<Secret>(client, namespace, &name).await?;
    let owner = resource.uid().unwrap_or_default();
    Ok(found.filter(|secret| owned(secret, &owner)).map(|_| name).into_iter().collect())
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    call(format!("get {} {namespace}/{name}", K::plural(&())), api.get_opt(name)).await
}

/// Whatever the manifest refers to and is not there.
async fn missing(
    client: &Client,
    namespace: &str,
    resource: &AMPDService,
) -> Result<Vec<Missing>, ReconcileError> {
    let spec = &resource.spec;
    let mut claims = Vec::new();
    let mut secrets = Vec::new();
    let mut maps = Vec::new();
    if let Some(claim) = &spec.model.source.persistent_volume_claim {
        claims.push(("spec.model.source.persistentVolumeClaim.claimName".to_owned(), &claim.claim_name));
    }
    if let Some(claim) = &spec.model.cache.claim_name {
        claims.push(("spec.model.cache.claimName".to_owned(), claim));
    }
    let hub = spec.model.source.hugging_face.as_ref();
    if let Some(token) = hub.and_then(|hub| hub.token_secret.as_ref()) {
        secrets.push(("spec.model.source.huggingFace.tokenSecret.name".to_owned(), &token.name));
    }
    let api = &spec.security.api;
    if let Some(name) = api.secret_name.as_ref().filter(|_| api.auth == ApiAuth::ApiKeys) {
        secrets.push(("spec.security.api.secretName".to_owned(), name));
    }
    if let Some(profile) = &spec.planner.profile {
        maps.push(("spec.planner.profile.name".to_owned(), &profile.name));
    }
    for role in Role::ALL {
        for (index, volume) in role.spec(spec).pod.volumes.iter().enumerate() {
            let field = |kind: &str| format!("spec.{role}.pod.volumes[{index}].{kind}.name");
            claims.extend(
                volume.persistent_volume_claim.iter().map(|it| (field("persistentVolumeClaim"), &it.name)),
            );
            secrets.extend(volume.secret.iter().map(|it| (field("secret"), &it.name)));
            maps.extend(volume.config_map.iter().map(|it| (field("configMap"), &it.name)));
        }
    }
    let (claims, secrets, maps) = tokio::try_join!(
        absent::<PersistentVolumeClaim>(client, namespace, claims),
        absent::<Secret>(client, namespace, secrets),
        absent::<ConfigMap>(client, namespace, maps),
    )?;
    Ok([claims, secrets, maps].concat())
}

async fn absent<K>(
    client: &Client,
    namespace: &str,
    names: Vec<(String, &String)>,
) -> Result<Vec<Missing>, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let found = try_join_all(names.iter().map(|(_, name)| get::<K>(client, namespace, name))).await?;
    let none = names.into_iter().zip(found).filter(|(_, object)| object.is_none());
    Ok(none.map(|((field, name), _)| Missing { field, what: format!("{} {name}", K::kind(&())) }).collect())
}
