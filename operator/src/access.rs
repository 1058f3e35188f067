//! What the operator may do: the rules of the chart are generated from this list, and a test holds its calls to it.

use serde::Serialize;

/// Some verbs on some resources of a group.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The groups; the core one is empty.
    pub api_groups: &'static [&'static str],
    /// The resources.
    pub resources: &'static [&'static str],
    /// What may be done.
    pub verbs: &'static [&'static str],
}

const fn rule(
    api_groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { api_groups, resources, verbs }
}

/// Children are watched, looked at before one is made, applied, which is creating and patching, and removed.
const CHILD: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// In the namespaces of services.
pub const SERVICES: &[Rule] = &[
    rule(&["ampd.dev"], &["ampdservices"], &["list", "watch"]),
    rule(&["ampd.dev"], &["ampdprefillscales"], &["get", "list", "watch"]),
    rule(&["ampd.dev"], &["ampdservices/status", "ampdprefillscales/status"], &["patch"]),
    rule(&["apps"], &["deployments"], CHILD),
    rule(&[""], &["services", "serviceaccounts"], CHILD),
    rule(&["networking.k8s.io"], &["networkpolicies"], CHILD),
    rule(&["policy"], &["poddisruptionbudgets"], CHILD),
    rule(&["rbac.authorization.k8s.io"], &["roles", "rolebindings"], CHILD),
    rule(
        &["monitoring.coreos.com"],
        &["podmonitors", "prometheusrules"],
        &["create", "delete", "get", "list", "patch"],
    ),
    rule(&[""], &["pods"], &["list", "patch", "watch"]),
    // By name, never listed.
    rule(&[""], &["secrets"], &["create", "delete", "get", "patch"]),
    rule(&[""], &["configmaps", "persistentvolumeclaims"], &["get"]),
    rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
    // What sidecars are given, the operator must have.
    rule(&["discovery.k8s.io"], &["endpointslices"], &["get", "list", "watch"]),
];

/// In its own namespace.
pub const OWN: &[Rule] = &[rule(&["coordination.k8s.io"], &["leases"], &["create", "get", "update"])];

/// In the whole cluster, to ask who may read the metrics.
pub const REVIEWS: &[Rule] = &[
    rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
    rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
];
