//! What pods run as, and the one thing that a sidecar may ask the API server.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role as AccessRole, RoleBinding, RoleRef, Subject};

use crate::{Input, Role, labels, names};

/// What a role's pods run as. No token comes into a container that does not need one.
pub(crate) fn account(input: &Input<'_>, role: Role) -> ServiceAccount {
    let name = input.name();
    ServiceAccount {
        metadata: input.metadata(names::role(name, role), labels::role(name, role)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Sidecars follow the EndpointSlices of their service. Lists and watches cannot be bound to names, only to a namespace.
pub(crate) fn role(input: &Input<'_>) -> AccessRole {
    let name = input.name();
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let rule = PolicyRule {
        api_groups: Some(words(&["discovery.k8s.io"])),
        resources: Some(words(&["endpointslices"])),
        verbs: words(&["get", "list", "watch"]),
        ..PolicyRule::default()
    };
    AccessRole {
        metadata: input.metadata(names::role(name, Role::Decode), labels::role(name, Role::Decode)),
        rules: Some(vec![rule]),
    }
}

/// Gives the decode pods that role.
pub(crate) fn binding(input: &Input<'_>) -> RoleBinding {
    let name = input.name();
    let decode = names::role(name, Role::Decode);
    RoleBinding {
        metadata: input.metadata(decode.clone(), labels::role(name, Role::Decode)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: decode.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: decode,
            namespace: Some(input.service.namespace.clone()),
            ..Subject::default()
        }]),
    }
}
