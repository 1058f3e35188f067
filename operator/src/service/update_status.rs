//! Fifth step: tells what was seen.

use std::fmt::Debug;

use ampd_api::service::{ApiAuth, RoleStatus};
use ampd_api::{AMPDPrefillScale, AMPDService, AMPDServiceStatus};
use ampd_render::{Role, Settings, labels, names};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::build::Plan;
use super::conditions::{count, verdicts};
use super::dereference::Observed;
use super::gates;
use super::observed::label;
use super::slo::Measured;
use super::validate::Validated;
use crate::calls::call;
use crate::condition::{self, ConditionType, Holds, NewCondition};
use crate::error::{ReconcileError, chain};

/// Who owns the status: another one than of the children, so that neither takes the other's fields away.
pub const MANAGER: &str = "ampd-operator-status";

/// What a reconcile has seen and decided.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What is wanted.
    pub validated: &'a Validated,
    /// What there was.
    pub observed: &'a Observed,
    /// What was to be done.
    pub plan: &'a Plan,
    /// What sidecars said of their rounds.
    pub measured: &'a Measured,
}

/// Whether a status says that the objectives are met; `None` where it cannot say.
pub(crate) fn slo_met(status: &AMPDServiceStatus) -> Option<bool> {
    match condition::find(&status.conditions, ConditionType::SloMet)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// The status that follows from a reconcile.
#[must_use]
pub fn status(
    resource: &AMPDService,
    seen: &Seen<'_>,
    settings: &Settings,
    now: Timestamp,
) -> AMPDServiceStatus {
    let Seen { validated, observed, plan, measured } = *seen;
    let (name, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
    let before = resource.status.clone().unwrap_or_default();
    let met_before = slo_met(&before);
    let mut conditions = before.conditions;
    for (kind, verdict) in verdicts(seen, met_before) {
        let made = verdict.into_condition(kind, resource.metadata.generation);
        condition::set(&mut conditions, made, now);
    }
    let api = &resource.spec.security.api;
    let keys = (api.auth == ApiAuth::ApiKeys)
        .then(|| api.secret_name.clone().unwrap_or_else(|| names::api_keys(&name)));
    AMPDServiceStatus {
        observed_generation: resource.metadata.generation,
        conditions,
        url: Some(format!("http://{}.{namespace}.svc.{}/v1", names::front(&name), settings.cluster_domain)),
        api_keys_secret: keys,
        prefill: role_status(resource, validated, observed, plan, Role::Prefill),
        decode: role_status(resource, validated, observed, plan, Role::Decode),
        gpus: if resource.spec.accelerator.is_some() {
            i32::try_from(gates::in_use(&observed.pods)).unwrap_or(i32::MAX)
        } else {
            0
        },
        slo: measured.status(),
        active_revision: validated.facts.active_revision.clone(),
        draining: plan.drain.draining.clone(),
    }
}

fn role_status(
    resource: &AMPDService,
    validated: &Validated,
    observed: &Observed,
    plan: &Plan,
    role: Role,
) -> RoleStatus {
    let count = count(validated, observed, plan, role);
    let active = validated.facts.active_revision.as_deref();
    let mut selector = labels::selector(&resource.name_any(), role);
    // Autoscalers compare these pods' load with their number: those of a revision that does not serve yet have none.
    selector.extend(active.map(|revision| (labels::REVISION.to_owned(), revision.to_owned())));
    let serving = observed.live_pods_of(role).filter(|pod| label(*pod, labels::REVISION) == active);
    RoleStatus {
        desired: count.desired,
        replicas: i32::try_from(serving.count()).unwrap_or(i32::MAX),
        ready: count.ready,
        updated: count.updated.unwrap_or(0),
        summary: format!("{}/{}", count.ready, count.desired),
        selector: labels::text(&selector),
    }
}

/// What was `seen`, or told before, with what kept a reconcile from its end.
#[must_use]
pub fn failed(
    resource: &AMPDService,
    seen: AMPDServiceStatus,
    error: &ReconcileError,
    now: Timestamp,
) -> AMPDServiceStatus {
    let mut status = seen;
    status.observed_generation = resource.metadata.generation;
    let made = NewCondition {
        kind: ConditionType::Ready,
        holds: Holds::False,
        reason: error.reason(),
        message: chain(error),
        observed_generation: resource.metadata.generation,
    };
    condition::set(&mut status.conditions, made, now);
    status
}

/// Writes a status, unless it is there already. Says whether it was written.
///
/// # Errors
/// When the API server cannot be asked, or refuses.
pub async fn write(
    client: &Client,
    resource: &AMPDService,
    status: &AMPDServiceStatus,
) -> Result<bool, ReconcileError> {
    if resource.status.as_ref().is_some_and(|present| in_order(present) == in_order(status)) {
        return Ok(false);
    }
    put(client, resource, status).await
}

/// A status with its conditions in the order of their types: the API server keeps them in one of its own.
fn in_order(status: &AMPDServiceStatus) -> AMPDServiceStatus {
    let mut status = status.clone();
    status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status
}

/// The same of the scale of the prefill workers, where there is one.
///
/// # Errors
/// When the API server cannot be asked, or refuses.
pub async fn write_scale(
    client: &Client,
    scale: &AMPDPrefillScale,
    prefill: &RoleStatus,
) -> Result<bool, ReconcileError> {
    let status = ampd_api::service::AMPDPrefillScaleStatus {
        replicas: prefill.replicas,
        selector: prefill.selector.clone(),
    };
    if scale.status.as_ref() == Some(&status) {
        return Ok(false);
    }
    put(client, scale, &status).await
}

/// Applies the status of an object of the project's own kinds.
async fn put<K>(client: &Client, object: &K, status: &impl Serialize) -> Result<bool, ReconcileError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let applied = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    let action = format!("write the status of {} {namespace}/{name}", K::kind(&()));
    call(action, api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&applied)))
        .await?;
    Ok(true)
}
