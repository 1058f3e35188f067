//! All that a service becomes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role as AccessRole, RoleBinding};
use serde_json::Value;

use crate::{Input, Role, access, deployment, disruption, monitoring, network, revision, rules, services};

/// All that a service becomes, besides its Secrets, which are made of random numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Children {
    /// What pods run as.
    pub accounts: Vec<ServiceAccount>,
    /// What sidecars may ask the API server.
    pub roles: Vec<AccessRole>,
    /// Who has these roles.
    pub role_bindings: Vec<RoleBinding>,
    /// Which connections are let through.
    pub policies: Vec<NetworkPolicy>,
    /// The front for clients, and the members of each role.
    pub services: Vec<Service>,
    /// How many pods may be taken at once.
    pub budgets: Vec<PodDisruptionBudget>,
    /// The pods.
    pub deployments: Vec<Deployment>,
    /// Kinds of the Prometheus operator.
    pub monitors: Vec<Value>,
}

/// Everything that a service becomes.
#[must_use]
pub fn children(input: &Input<'_>) -> Children {
    let spec = &input.resource.spec;
    let newest = revision(spec);
    let active = input.facts.active_revision.as_deref().unwrap_or(&newest);
    let deployments = input
        .facts
        .replicas
        .iter()
        .map(|((role, degree), count)| deployment::deployment(input, *role, *degree, *count, &newest));
    let members = Role::ALL.map(|role| services::members(input, role, &newest));
    let policies = Role::ALL.into_iter().filter(|_| spec.security.network.policies);
    let observed = &spec.observability;
    let monitor = (observed.pod_monitor && input.facts.pod_monitor).then(|| monitoring::pod_monitor(input));
    let rule =
        (observed.prometheus_rule && input.facts.prometheus_rule).then(|| rules::prometheus_rule(input));
    Children {
        accounts: Role::ALL.map(|role| access::account(input, role)).into(),
        roles: vec![access::role(input)],
        role_bindings: vec![access::binding(input)],
        policies: policies.map(|role| network::policy(input, role)).collect(),
        services: std::iter::once(services::front(input, active)).chain(members).collect(),
        budgets: Role::ALL.map(|role| disruption::budget(input, role)).into(),
        deployments: deployments.collect(),
        monitors: monitor.into_iter().chain(rule).collect(),
    }
}

impl Children {
    /// All of them as JSON, in the order in which they are applied.
    #[must_use]
    pub fn to_json(&self) -> Vec<Value> {
        fn each<T: serde::Serialize>(list: &[T]) -> impl Iterator<Item = Value> {
            list.iter().filter_map(|object| serde_json::to_value(object).ok())
        }
        let Self { accounts, roles, role_bindings, policies, services, budgets, deployments, monitors } =
            self;
        each(accounts)
            .chain(each(roles))
            .chain(each(role_bindings))
            .chain(each(policies))
            .chain(each(services))
            .chain(each(budgets))
            .chain(each(monitors))
            .chain(each(deployments))
            .collect()
    }
}
