//! The pods of a role.

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, PodSchedulingGate, PodSecurityContext, PodSpec, PodTemplateSpec,
    SeccompProfile, Toleration, TopologySpreadConstraint, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::worker::{self, NOTICE_S, PROFILE, TLS};
use crate::{Input, Role, container, labels, model, names, sidecar, volumes};

/// The user and the group of all processes, as in the image.
const USER: i64 = 10_001;
/// Time for a pod's end after its worker's own, seconds.
const LAST_S: i64 = 15;

/// The labels of a role's pods of one degree and one revision.
pub(crate) fn pod_labels(input: &Input<'_>, role: Role, degree: u32, revision: &str) -> labels::Labels {
    let mut all = labels::role(input.name(), role);
    all.insert(labels::GATEWAY_ROLE.into(), role.as_str().into());
    all.insert(labels::REVISION.into(), revision.into());
    all.insert(labels::DEGREE.into(), degree.to_string());
    all
}

/// The template of a role's pods.
pub(crate) fn template(input: &Input<'_>, role: Role, degree: u32, revision: &str) -> PodTemplateSpec {
    let added = &role.spec(&input.resource.spec).pod;
    let annotations = (!added.annotations.is_empty()).then(|| added.annotations.clone());
    let all_labels = pod_labels(input, role, degree, revision);
    let metadata = ObjectMeta { annotations, labels: Some(all_labels), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(input, role, degree, revision)) }
}

fn pod(input: &Input<'_>, role: Role, degree: u32, revision: &str) -> PodSpec {
    let spec = &input.resource.spec;
    let added = &role.spec(spec).pod;
    let delivery = model::delivery(input);
    let mut init = Vec::from_iter(delivery.fetch.clone());
    if role == Role::Decode {
        init.push(sidecar::container(input, revision, &delivery));
    }
    let selectors = spec.accelerator.iter().flat_map(|accelerator| &accelerator.node_selector);
    let selector: labels::Labels =
        selectors.chain(&added.node_selector).map(|(key, value)| (key.clone(), value.clone())).collect();
    let drain = i64::try_from(input.service.drain_timeout.as_secs()).unwrap_or(i64::MAX);
    let pull_secrets = spec.image.pull_secrets.iter();
    let pull_secrets: Vec<_> =
        pull_secrets.map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    PodSpec {
        init_containers: (!init.is_empty()).then_some(init),
        containers: vec![worker::container(input, role, degree, &delivery)],
        volumes: Some(pod_volumes(input, role, delivery.volume)),
        service_account_name: Some(names::role(input.name(), role)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(drain.saturating_add(NOTICE_S + LAST_S)),
        security_context: Some(security()),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        node_selector: (!selector.is_empty()).then_some(selector),
        tolerations: (!added.tolerations.is_empty())
            .then(|| added.tolerations.iter().map(toleration).collect()),
        affinity: added.affinity.clone().and_then(affinity),
        priority_class_name: added.priority_class_name.clone(),
        runtime_class_name: added.runtime_class_name.clone(),
        topology_spread_constraints: Some(vec![spread(input, role)]),
        scheduling_gates: has_budget(input)
            .then(|| vec![PodSchedulingGate { name: labels::BUDGET_GATE.into() }]),
        ..PodSpec::default()
    }
}

/// Whether pods wait for the operator to let them into the budget.
fn has_budget(input: &Input<'_>) -> bool {
    input.resource.spec.accelerator.as_ref().is_some_and(|accelerator| accelerator.budget.is_some())
}

fn pod_volumes(input: &Input<'_>, role: Role, model: Option<Volume>) -> Vec<Volume> {
    let spec = &input.resource.spec;
    let mut all =
        vec![volumes::secret(TLS.0, names::certificate(input.name(), role.as_str())), container::scratch()];
    all.extend(model);
    all.extend(spec.planner.profile.iter().map(|key| volumes::config_key(PROFILE.0, key, PROFILE.2)));
    if role == Role::Decode {
        all.extend(sidecar::volumes_of(input));
    }
    all.extend(role.spec(spec).pod.volumes.iter().map(|volume| volumes::added(volume).0));
    all
}

fn security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// The pods of a role stay apart where that is possible: a lost node then takes the fewest sessions.
fn spread(input: &Input<'_>, role: Role) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::selector(input.name(), role)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn toleration(toleration: &ampd_api::service::Toleration) -> Toleration {
    Toleration {
        key: toleration.key.clone(),
        operator: Some(toleration.operator.as_str().into()),
        value: toleration.value.clone(),
        effect: toleration.effect.map(|effect| effect.as_str().into()),
        toleration_seconds: toleration.toleration_seconds,
    }
}

/// The operator's validation has read it before: what cannot be read does not get here.
fn affinity(map: serde_json::Map<String, serde_json::Value>) -> Option<Affinity> {
    serde_json::from_value(map.into()).ok()
}
