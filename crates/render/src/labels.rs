//! The labels of children.

use std::collections::BTreeMap;

use crate::Role;

/// Who manages all children.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ampd-operator");
/// What they are part of.
pub const NAME: (&str, &str) = ("app.kubernetes.io/name", "ampd");
/// The service.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The role.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The role, as gateways know it.
pub const GATEWAY_ROLE: &str = "llm-d.ai/role";
/// The revision of what cannot change in place.
pub const REVISION: &str = "ampd.dev/revision";
/// The parallel degree.
pub const DEGREE: &str = "ampd.dev/tensor-parallel";
/// The gate that holds a new pod back until the budget has room for it.
pub const BUDGET_GATE: &str = "ampd.dev/gpu-budget";
/// The annotation of a decode pod that is to go: since when, RFC 3339.
pub const DRAINING: &str = "ampd.dev/draining-since";

/// Labels in order, so that equal objects are equal bytes.
pub type Labels = BTreeMap<String, String>;

/// Of everything that belongs to a service.
#[must_use]
pub fn service(name: &str) -> Labels {
    [MANAGED_BY, NAME, (INSTANCE, name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Of everything that belongs to one role of it.
#[must_use]
pub fn role(name: &str, role: Role) -> Labels {
    let mut labels = service(name);
    labels.insert(COMPONENT.into(), role.as_str().into());
    labels
}

/// By which a role's pods are selected, all revisions and degrees.
#[must_use]
pub fn selector(name: &str, role: Role) -> Labels {
    [(INSTANCE, name), (COMPONENT, role.as_str()), NAME]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// The same as list calls and the scale subresource write it.
#[must_use]
pub fn text(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
